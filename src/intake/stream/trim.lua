-- Trims up to 200 of the oldest entries, but none that any group still has to read or to acknowledge.
--
-- KEYS[1]  the stream
-- ARGV[1]  entries to keep
--
-- Answer: how many were trimmed.
local excess = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[1])
if excess <= 0 then return 0 end
local function before(a, b)
  local a1, a2 = a:match('^(%d+)%-(%d+)$')
  local b1, b2 = b:match('^(%d+)%-(%d+)$')
  a1, a2, b1, b2 = tonumber(a1), tonumber(a2), tonumber(b1), tonumber(b2)
  return a1 < b1 or (a1 == b1 and a2 < b2)
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', math.min(excess, 200) + 1)
local cut = oldest[#oldest][1]
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local about = {}
  for i = 1, #group, 2 do about[group[i]] = group[i + 1] end
  if before(about['last-delivered-id'], cut) then cut = about['last-delivered-id'] end
  local pending = redis.call('XPENDING', KEYS[1], about['name'])
  if pending[2] and before(pending[2], cut) then cut = pending[2] end
end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', cut)
