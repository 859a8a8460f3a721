import * as ndk from "@nostr-dev-kit/ndk";
import { adapter } from "./ndk.mjs";

export default adapter(ndk);
