-- Ends the lease at once.
--
-- KEYS[1]  the instance's key; its value is <token>/<connection number>
-- ARGV[1]  our value of that key
--
-- Answer: 1 if the lease was ours, else 0.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
