-- Renews the lease and finds the owners whose lease has expired.
--
-- The first to find an expired owner divides its runs by the number of valid incarnations, and stores that share for those
-- that look later. An instance that is back under its name has no share: it may claim all that its earlier incarnation had.
--
-- KEYS[1]  the instance's key; its value is <token>/<connection number>
-- ARGV[1]  our value of that key
-- ARGV[2]  lease in ms
-- ARGV[3]  prefix of all keys
-- ARGV[4]  owner: <instance>/<token>
--
-- Answer: nil if the lease has lapsed; else triples of an expired owner, how many of its runs we may claim, and how many it
-- has.
local value, lease, prefix, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('GET', KEYS[1]) ~= value then return false end
redis.call('PEXPIRE', KEYS[1], lease)
local owners, valid, expired, found = prefix .. 'owners', 1, {}, {}
for _, other in ipairs(redis.call('SMEMBERS', owners)) do
  local instance, token = other:match('^(.*)/([^/]*)$')
  local held = instance and redis.call('GET', prefix .. 'instance:' .. instance)
  if other ~= owner then
    if held and held:match('^[^/]*') == token then
      valid = valid + 1
    else
      expired[#expired + 1] = other
    end
  end
end
for _, other in ipairs(expired) do
  local share_key, runs = prefix .. 'share:' .. other, redis.call('SCARD', prefix .. 'runs:' .. other)
  if runs == 0 then
    redis.call('SREM', owners, other)
    redis.call('DEL', share_key)
  else
    local share = runs
    if other:match('^(.*)/') ~= owner:match('^(.*)/') then
      share = tonumber(redis.call('GET', share_key))
      if not share then
        share = math.ceil(runs / valid)
        redis.call('SET', share_key, share, 'PX', lease)
      end
    end
    found[#found + 1] = other
    found[#found + 1] = share
    found[#found + 1] = runs
  end
end
return found
