-- Puts leases off, and brings back reservations that are not there. KEYS[3] is the sorted set of instances. ARGV: time, lease,
-- instance, then of each call: id, number of counters, and of each: metric, key, need (two numbers; of a rate its number and the
-- second), when its key expires. Returns how many instances have renewed of late.
local lease, at = tonumber(ARGV[2]), 4
while ARGV[at] do
	local id, n = ARGV[at], tonumber(ARGV[at + 1])
	at = at + 2
	local r = held(id)
	if r.entries then
		r.lease = now + lease
		at = at + 5 * n
	else
		local entries, expires = {}, {}
		for _ = 1, n do
			local metric, key, h, l = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
			if metric ~= 'c' and metric ~= 'p' then h, l = l, h end
			add4(entries, metric, key, h, l)
			expires[key] = tonumber(ARGV[at + 4])
			at = at + 5
		end
		take(id, entries, lease, expires)
	end
end
flush()
call('ZADD', KEYS[3], now + lease, ARGV[3])
call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
call('PEXPIRE', KEYS[3], 2 * lease)
return call('ZCARD', KEYS[3])
