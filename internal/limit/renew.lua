-- Puts leases off, and brings back reservations that are not there. KEYS[3] is the sorted set of instances. ARGV: time, lease,
-- instance, then of each call: id, 1 where it may have been admitted again without the store, number of counters, and of each: metric, key, need (two numbers; of a rate its number and the
-- second), when its key expires. Returns how many instances have renewed of late.
local lease, at = tonumber(ARGV[2]), 4
while ARGV[at] do
	local id, again, n = ARGV[at], ARGV[at + 1] == '1', tonumber(ARGV[at + 2])
	at = at + 3
	local r = held(id)
	if r.entries then r.lease = now + lease end
	if r.entries and not again then
		at = at + 5 * n
	else
		local entries, expires, had = {}, {}, {}
		for i = 2, #(r.entries or had), 4 do had[r.entries[i]] = true end
		for _ = 1, n do
			local metric, key, h, l = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
			if metric ~= 'c' and metric ~= 'p' then h, l = l, h end
			if not had[key] then add4(entries, metric, key, h, l) end
			expires[key] = tonumber(ARGV[at + 4])
			at = at + 5
		end
		if #entries > 0 then take(id, entries, lease, expires) end
	end
end
flush()
call('ZADD', KEYS[3], now + lease, ARGV[3])
call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
call('PEXPIRE', KEYS[3], 2 * lease)
return call('ZCARD', KEYS[3])
