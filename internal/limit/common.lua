-- What the scripts share. KEYS[1] is the sorted set of leases, KEYS[2] the hash of reservations. ARGV[1] is the time in
-- milliseconds, for tests; empty: the server's. docs/redis.md has the layout.
if redis.replicate_commands then redis.replicate_commands() end -- before Redis 7 a script that asks for the time must
local now = tonumber(ARGV[1])
if not now then
	local t = redis.call('TIME')
	now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local sec = math.floor(now / 1000)
local BASE = 1000000000

-- Money has two limbs, as a number here is exact up to 2^53 only.
local function add(h, l, h2, l2)
	h, l = h + h2, l + l2
	if l >= BASE then return h + 1, l - BASE end
	if l < 0 then return h - 1, l + BASE end
	return h, l
end
local function above(h, l, h2, l2) return h > h2 or h == h2 and l > l2 end

-- Has the key of a budget expire: at is a time, set once, or a number of seconds since its last use, negative; 0: it does not.
local function expire(key, at, new)
	if at < 0 then redis.call('EXPIRE', key, -at) end
	if at > 0 and new then redis.call('EXPIREAT', key, at) end
end

-- A rate has its sum in `s`, the oldest second that may count in `f`, and each second's number in a field of the second
-- modulo 128. Returns sum, oldest second, and the number of this second, nil when it has none.
local function rate(key)
	local v = redis.call('HMGET', key, 's', 'f', sec % 128)
	local s, f = tonumber(v[1]), tonumber(v[2])
	if not f then return 0, sec, nil end
	if f > sec or sec - 60 > f + 127 then
		redis.call('DEL', key)
		return 0, sec, nil
	end
	if f < sec - 60 then
		local old = {}
		for i = f, sec - 61 do old[#old + 1] = i % 128 end
		for _, n in ipairs(redis.call('HMGET', key, unpack(old))) do s = s - (tonumber(n) or 0) end
		redis.call('HDEL', key, unpack(old))
		f = sec - 60
		redis.call('HSET', key, 's', s, 'f', f)
		return s, f, nil -- what the field has is of an older second
	end
	return s, f, tonumber(v[3])
end

-- Adds to what was admitted in a second that counts still.
local function count(key, at, n)
	if n == 0 or at < sec - 60 or at > sec then return end
	local s, f, b = rate(key)
	b = tonumber(redis.call('HGET', key, at % 128))
	redis.call('HSET', key, 's', s + n, 'f', math.min(f, at), at % 128, (b or 0) + n)
	if not b then redis.call('EXPIRE', key, 62) end
end

-- Ends a reservation, and returns the keys that it held; false when there was none. used has what the call has really used by
-- metric, and counted the keys of the rates that it counts in; nil: rates stay as they are.
local function release(id, used, counted)
	local packed = redis.call('HGET', KEYS[2], id)
	if not packed then return false end
	local had = {}
	redis.call('HDEL', KEYS[2], id)
	redis.call('ZREM', KEYS[1], id)
	for _, e in ipairs(cmsgpack.unpack(packed)) do
		local metric, key = e[1], e[2]
		had[key] = true
		if metric == 'c' then
			local v = redis.call('HMGET', key, 'c', 'd')
			if v[1] then
				local h, l = add(tonumber(v[1]), tonumber(v[2]), -e[3], -e[4])
				if h < 0 then h, l = 0, 0 end
				redis.call('HSET', key, 'c', h, 'd', l)
			end
		elseif metric == 'p' then
			if redis.call('DECR', key) <= 0 then redis.call('DEL', key) end
		elseif used then
			count(key, e[3], (counted[key] and used[metric] or 0) - e[4])
		end
	end
	return had
end

-- A call is not under way any more. What else it holds stays until its record is applied.
local function finish(id)
	local packed = redis.call('HGET', KEYS[2], id)
	if not packed then return end
	local rest, found = {}, false
	for _, e in ipairs(cmsgpack.unpack(packed)) do
		if e[1] ~= 'p' then
			rest[#rest + 1] = e
		else
			found = true
			if redis.call('DECR', e[2]) <= 0 then redis.call('DEL', e[2]) end
		end
	end
	if found then redis.call('HSET', KEYS[2], id, cmsgpack.pack(rest)) end
end

-- Ends reservations whose leases ran out.
local function reap()
	for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)) do
		if not release(id, nil) then redis.call('ZREM', KEYS[1], id) end
	end
end

-- Takes what a call needs. Each entry is metric, key, and of money two limbs and when its key expires, of a rate the second
-- and the number.
local function hold(id, entries, lease)
	local packed = {}
	for i, e in ipairs(entries) do
		local metric, key = e[1], e[2]
		if metric == 'c' then
			local v = redis.call('HMGET', key, 'a', 'c', 'd')
			local h, l = add(tonumber(v[2]) or 0, tonumber(v[3]) or 0, e[3], e[4])
			redis.call('HSET', key, 'c', h, 'd', l)
			expire(key, e[5], not v[1] and not v[2])
			packed[i] = {'c', key, e[3], e[4]}
		elseif metric == 'p' then
			redis.call('INCR', key)
			packed[i] = {'p', key}
		else
			count(key, e[3], e[4])
			packed[i] = {metric, key, e[3], e[4]}
		end
	end
	redis.call('HSET', KEYS[2], id, cmsgpack.pack(packed))
	redis.call('ZADD', KEYS[1], now + lease, id)
end
