-- Returns the time, and of each counter four numbers: of money spent and reserved in two limbs each; of a rate its number and
-- the newest second that counts. KEYS from 3 on are the counters. ARGV: time, then the metric of each.
reap()
local out = {now}
for i = 3, #KEYS do
	local metric, key, o = ARGV[i - 1], KEYS[i], #out
	local a, b, c, d = 0, 0, 0, 0
	if metric == 'c' then
		local v = redis.call('HMGET', key, 'a', 'b', 'c', 'd')
		a, b, c, d = tonumber(v[1]) or 0, tonumber(v[2]) or 0, tonumber(v[3]) or 0, tonumber(v[4]) or 0
	elseif metric == 'p' then
		a = tonumber(redis.call('GET', key)) or 0
	else
		local f
		a, f = rate(key)
		for j = sec, f, -1 do
			if (tonumber(redis.call('HGET', key, j % 128)) or 0) ~= 0 then b = j; break end
		end
	end
	out[o + 1], out[o + 2], out[o + 3], out[o + 4] = a, b, c, d
end
return out
