-- Makes one connection of one incarnation the only one that counts for its instance.
--
-- KEYS[1]  the instance's key; its value is <token>/<connection number>
-- ARGV[1]  our value of that key
-- ARGV[2]  lease in ms
-- ARGV[3]  prefix of all keys
-- ARGV[4]  owner: <instance>/<token>
-- ARGV[5]  '1': replace another incarnation of the same name
--
-- Answer: 1, or 0 if another incarnation has the name.
local value, lease, prefix, owner, replaces = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local held = redis.call('GET', KEYS[1])
if held and held:match('^[^/]*') ~= value:match('^[^/]*') and replaces ~= '1' then return 0 end
redis.call('SET', KEYS[1], value, 'PX', lease)
redis.call('SADD', prefix .. 'owners', owner)
return 1
