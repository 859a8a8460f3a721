// NDK 2 begins with a connect in NIP-04.
import * as ndk from "ndk2";
import { adapter } from "./ndk.mjs";

export default adapter(ndk);
