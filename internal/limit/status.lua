-- Returns the time, and of each counter four numbers: of money spent and reserved in two limbs each; of a rate its number and
-- the newest second that counts. KEYS from 3 on are the counters. ARGV: time, then the metric of each.
reap()
local out = {now}
for i = 3, #KEYS do
	local metric, key, o = ARGV[i - 1], KEYS[i], #out
	local a, b, c, d = 0, 0, 0, 0
	if metric == 'c' then
		local r = budget(key)
		a, b, c, d = r.a, r.b, r.c, r.d
	elseif metric == 'p' then
		a = running(key).n
	else
		local r = rate(key)
		local at = seconds(key, r)
		a, b = r.s, r.f
		for j = sec, r.f, -1 do
			if ((j == sec and r.n or at[j]) or 0) ~= 0 then b = j; break end
		end
	end
	out[o + 1], out[o + 2], out[o + 3], out[o + 4] = a, b, c, d
end
flush()
return out
