#!/bin/sh
# strfry's write policy (its docs/plugins.md): one line of JSON for each event on standard input, one answer each on standard
# output. Kind 24133 is taken, everything else refused. Text search is enough: strfry writes compact JSON without spaces, a
# quote inside a string is always escaped, and tags are lists of strings, so "kind": and "id": are members of the event.
exec awk '
{
  id = ""
  if (match($0, /"id":"[0-9a-f]+"/)) id = substr($0, RSTART + 6, RLENGTH - 7)
  if (length(id) != 64) next
  if ($0 ~ /"type":"new"/ && $0 ~ /"kind":24133[,}]/)
    printf "{\"id\":\"%s\",\"action\":\"accept\"}\n", id
  else
    printf "{\"id\":\"%s\",\"action\":\"reject\",\"msg\":\"blocked: this relay takes kind 24133 (NIP-46) alone\"}\n", id
  fflush()
}'
