-- Puts leases off, and brings back reservations that are not there. KEYS[3] is the sorted set of instances. ARGV: time, lease,
-- instance, then of each call: id, number of counters, and of each: metric, key, need (two numbers; of a rate its number and the
-- second), when its key expires. Returns how many instances have renewed of late.
local lease, at = tonumber(ARGV[2]), 4
while ARGV[at] do
	local id, n = ARGV[at], tonumber(ARGV[at + 1])
	at = at + 2
	if redis.call('HEXISTS', KEYS[2], id) == 1 then
		redis.call('ZADD', KEYS[1], now + lease, id)
		at = at + 5 * n
	else
		local entries = {}
		for i = 1, n do
			local metric, h = ARGV[at], tonumber(ARGV[at + 2])
			if metric == 'c' or metric == 'p' then
				entries[i] = {metric, ARGV[at + 1], h, tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])}
			else
				entries[i] = {metric, ARGV[at + 1], tonumber(ARGV[at + 3]), h}
			end
			at = at + 5
		end
		hold(id, entries, lease)
	end
end
redis.call('ZADD', KEYS[3], now + lease, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
redis.call('PEXPIRE', KEYS[3], 2 * lease)
return redis.call('ZCARD', KEYS[3])
