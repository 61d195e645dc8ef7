-- Admits a call: all counters are checked and then all taken, or none. KEYS from 3 on are the counters. ARGV: time, id, lease,
-- number and ids of calls that are not under way any more; then of each counter: metric, need (two numbers), limit (two numbers; the first empty: none), first second and end of its
-- window, and when its key expires. Returns a code, the time, and
-- 0: four numbers of each counter as they are now; 1: which counter does not admit the call, and its four numbers;
-- 2: the time is outside of a window.
local id, lease, done = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
for i = 5, 4 + done do finish(ARGV[i]) end
reap()
local out, entries, writes, had = {0, now}, {}, {}, {}
local packed = redis.call('HGET', KEYS[2], id)
if packed then -- a call that is asked for again takes what it does not have yet
	entries = cmsgpack.unpack(packed)
	for _, e in ipairs(entries) do had[e[2]] = true end
end
local function take(entry, write)
	entries[#entries + 1], writes[#writes + 1] = entry, write
end
for i = 1, #KEYS - 2 do
	local key, at = KEYS[i + 2], 5 + done + 8 * (i - 1)
	local metric, h, l = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
	local maxh, maxl = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
	local o = #out
	if metric == 'c' then
		local start, finish = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
		if sec < start or finish > 0 and sec >= finish then return {2, now} end
		local v = redis.call('HMGET', key, 'a', 'b', 'c', 'd')
		local a, b, c, d = tonumber(v[1]) or 0, tonumber(v[2]) or 0, tonumber(v[3]) or 0, tonumber(v[4]) or 0
		if not had[key] then
			local rh, rl = add(c, d, h, l)
			if maxh then
				local th, tl = add(a, b, rh, rl)
				if above(th, tl, maxh, maxl) or not above(maxh, maxl, a, b) then return {1, now, i, a, b, c, d} end
			end
			c, d = rh, rl
			local write = {'HSET', key, 'c', c, 'd', d}
			write.expire, write.new = tonumber(ARGV[at + 7]), not v[1] and not v[3]
			take({'c', key, h, l}, write)
		end
		out[o + 1], out[o + 2], out[o + 3], out[o + 4] = a, b, c, d
	elseif metric == 'p' then
		local n = tonumber(redis.call('GET', key)) or 0
		if not had[key] then
			if maxh and n + h > maxh then return {1, now, i, n, 0, 0, 0} end
			n = n + h
			take({'p', key}, {'SET', key, n})
		end
		out[o + 1], out[o + 2], out[o + 3], out[o + 4] = n, 0, 0, 0
	else
		local s, f, b = rate(key)
		if not had[key] then
			if maxh and (s >= maxh or s + h > maxh) then
				local left, wait = s, 0
				for j = f, sec do
					left = left - (tonumber(redis.call('HGET', key, j % 128)) or 0)
					if left < maxh and left + h <= maxh then wait = (j + 61) * 1000 - now; break end
				end
				return {1, now, i, s, wait, 0, 0}
			end
			s = s + h
			local write = {'HSET', key, 's', s, 'f', f, sec % 128, (b or 0) + h}
			if not b then write.expire = -62 end
			take({metric, key, sec, h}, write)
		end
		out[o + 1], out[o + 2], out[o + 3], out[o + 4] = s, 0, 0, 0
	end
end
if #writes == 0 then return out end
for _, w in ipairs(writes) do
	redis.call(unpack(w))
	if w.expire then expire(w[2], w.expire, w.new) end
end
redis.call('HSET', KEYS[2], id, cmsgpack.pack(entries))
redis.call('ZADD', KEYS[1], now + lease, id)
return out
