-- Sets the idle time of those entries to nothing that are still this consumer's.
--
-- KEYS[1]     the stream
-- ARGV[1]     the group
-- ARGV[2]     the consumer
-- ARGV[3...]  ids of entries
--
-- Answer: the ids that are not this consumer's any more.
local lost = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2])
  if #pending == 1 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'JUSTID')
  else
    lost[#lost + 1] = id
  end
end
return lost
