-- Writes runs, each as a whole or not at all, and renews the lease.
--
-- KEYS[1]  the instance's key; its value is <token>/<connection number>
-- ARGV[1]  our value of that key
-- ARGV[2]  lease in ms
-- ARGV[3]  prefix of all keys
-- ARGV[4]  owner: <instance>/<token>
-- ARGV[5]  seconds that a done run is remembered
-- ARGV[6...]  for each run: its name, its mode, how many fields to set, each with its value, how many fields to remove,
--             each of them
--
-- Modes: 'new': the run is to become ours. 'owned': it is ours. 'rewrite': all of it, in place of what is there.
-- 'late-rewrite': the same, and a run that is not there is done.
--
-- Answer: nil if the lease has lapsed (nothing was written); else pairs of a run and 'elsewhere', 'done' or 'missing' (it
-- was not written), or 'over' (nothing of it is left).
local value, lease, prefix, owner, done_kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('GET', KEYS[1]) ~= value then return false end
redis.call('PEXPIRE', KEYS[1], lease)
local own_runs, verdicts, at = prefix .. 'runs:' .. owner, {}, 6
while at <= #ARGV do
  local run, mode, set = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local first_set = at + 3
  local removed = tonumber(ARGV[first_set + 2 * set])
  local first_removed = first_set + 2 * set + 1
  at = first_removed + removed
  local key, done = prefix .. 'run:' .. run, prefix .. 'done:' .. run
  local owner_there = redis.call('HGET', key, 'o')
  local verdict = nil
  if owner_there then
    if owner_there ~= owner then verdict = 'elsewhere' end
  elseif set > 0 and redis.call('EXISTS', done) == 1 then
    verdict = 'done'
  elseif set > 0 and mode == 'late-rewrite' then
    verdict = 'done'
  elseif set > 0 and mode == 'owned' then
    verdict = 'missing'
  end
  if verdict then
    verdicts[#verdicts + 1] = run
    verdicts[#verdicts + 1] = verdict
  else
    if mode == 'rewrite' or mode == 'late-rewrite' then redis.call('DEL', key) end
    for i = 0, set - 1 do
      redis.call('HSET', key, ARGV[first_set + 2 * i], ARGV[first_set + 2 * i + 1])
    end
    for i = 0, removed - 1 do
      redis.call('HDEL', key, ARGV[first_removed + i])
    end
    if set == 0 and redis.call('HLEN', key) - redis.call('HEXISTS', key, 'o') == 0 then
      redis.call('DEL', key)
      redis.call('SREM', own_runs, run)
      redis.call('SET', done, '1', 'EX', done_kept)
      verdicts[#verdicts + 1] = run
      verdicts[#verdicts + 1] = 'over'
    else
      redis.call('HSET', key, 'o', owner)
      redis.call('SADD', own_runs, run)
      redis.call('SADD', prefix .. 'owners', owner)
    end
  end
end
return verdicts
