-- Renews the lease and takes runs of an expired owner.
--
-- KEYS[1]  the instance's key; its value is <token>/<connection number>
-- ARGV[1]  our value of that key
-- ARGV[2]  lease in ms
-- ARGV[3]  prefix of all keys
-- ARGV[4]  owner: <instance>/<token>
-- ARGV[5]  the expired owner
-- ARGV[6]  where to go on among its runs: a cursor of SSCAN
-- ARGV[7]  about how many runs to look at
-- ARGV[8]  how many runs to take at most
-- ARGV[9]  the latest version of a record that we can read
--
-- Answer: nil if the lease has lapsed; else the next cursor, how many runs were left because a later farspan has written
-- them, and pairs of a taken run and its fields.
local value, lease, prefix, owner, expired = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local room, version = tonumber(ARGV[8]), tonumber(ARGV[9])
if redis.call('GET', KEYS[1]) ~= value then return false end
redis.call('PEXPIRE', KEYS[1], lease)
local instance, token = expired:match('^(.*)/([^/]*)$')
local held = instance and redis.call('GET', prefix .. 'instance:' .. instance)
if held and held:match('^[^/]*') == token then return {'0', 0} end
local own_runs, expired_runs = prefix .. 'runs:' .. owner, prefix .. 'runs:' .. expired
local scanned = redis.call('SSCAN', expired_runs, ARGV[6], 'COUNT', ARGV[7])
local answer, unread = {scanned[1], 0}, 0
for _, run in ipairs(scanned[2]) do
  local key = prefix .. 'run:' .. run
  if redis.call('HGET', key, 'o') ~= expired then
    redis.call('SREM', expired_runs, run)
  elseif room > 0 then
    local record = redis.call('HGET', key, 'w')
    if record and #record > 0 and record:byte(1) > version then
      unread = unread + 1
    else
      redis.call('SREM', expired_runs, run)
      redis.call('HSET', key, 'o', owner)
      redis.call('SADD', own_runs, run)
      answer[#answer + 1] = run
      answer[#answer + 1] = redis.call('HGETALL', key)
      room = room - 1
    end
  end
end
answer[2] = unread
return answer
