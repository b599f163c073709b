-- Reads entries as a consumer of a group, or claims those that no consumer has renewed, and cuts what is too long.
--
-- KEYS[1]  the stream
-- ARGV[1]  the group
-- ARGV[2]  the consumer
-- ARGV[3]  the most entries
-- ARGV[4]  bytes of an entry; what is beyond them is left out
-- ARGV[5]  bytes of the answer; no further entry is read beyond them
-- ARGV[6]  '>' for new entries, or the id behind which the consumer's pending entries are read, or the cursor of a claim
-- ARGV[7]  for a claim: how long an entry has not been renewed, in milliseconds
--
-- Answer: where to go on, and the entries, each with its id and fields. An entry without fields was trimmed while it was
-- pending.
local behind, room, entries = ARGV[6], tonumber(ARGV[5]), {}
local function next_entry()
  if ARGV[7] then
    local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[7], behind, 'COUNT', 1)
    behind = claimed[1]
    return claimed[2][1], behind ~= '0-0'
  end
  local read = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], behind)
  local entry = read and read[1][2][1]
  if entry and behind ~= '>' then behind = entry[1] end
  return entry, entry
end
local function cut(fields)
  local kept, left = {}, tonumber(ARGV[4])
  for i = 1, #fields do
    if left == 0 then break end
    kept[i] = string.sub(fields[i], 1, left)
    left = left - #kept[i]
  end
  room = room - tonumber(ARGV[4]) + left
  return kept
end
for _ = 1, tonumber(ARGV[3]) do
  local entry, has_more = next_entry()
  if entry then entries[#entries + 1] = { entry[1], entry[2] and cut(entry[2]) } end
  if not has_more or room <= 0 then break end
end
return { behind, entries }
