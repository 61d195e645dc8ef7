-- What the scripts share. KEYS[1] is the sorted set of leases, KEYS[2] the hash of reservations. ARGV[1] is the time in
-- milliseconds, for tests; empty: the server's. docs/redis.md has the layout.
if redis.replicate_commands then redis.replicate_commands() end -- before Redis 7 a script that asks for the time must
local call, tonumber = redis.call, tonumber
local now = tonumber(ARGV[1])
if not now then
	local t = call('TIME')
	now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local sec = math.floor(now / 1000)
local slot = string.format('%d', sec % 128)
local BASE = 1000000000

-- Counters and reservations are read once, changed here, and written by flush: so a script that ends with an error has changed nothing
-- but what has run out.
local budgets, rates, parallel, calls = {}, {}, {}, {}

-- Money has two limbs, as a number here is exact up to 2^53 only.
local function add(h, l, h2, l2)
	h, l = h + h2, l + l2
	if l >= BASE then return h + 1, l - BASE end
	if l < 0 then return h - 1, l + BASE end
	return h, l
end
local function above(h, l, h2, l2) return h > h2 or h == h2 and l > l2 end

-- A budget: spent in a and b, reserved in c and d, which is there where reserved is set. paid and dirty have them written.
local function budget(key)
	local r = budgets[key]
	if r then return r end
	local v = call('HMGET', key, 'a', 'b', 'c', 'd')
	r = {a = tonumber(v[1]) or 0, b = tonumber(v[2]) or 0, c = tonumber(v[3]) or 0, d = tonumber(v[4]) or 0,
		reserved = v[3], new = not v[1] and not v[3]}
	budgets[key] = r
	return r
end

-- Has the key of a budget expire: at is a time, set once, or a number of seconds since its last use, negative; 0: it does not.
local function expire(r, at)
	if at < 0 or r.new then r.expire = at end
end

-- A rate has its sum in s, the oldest second that may count in f, and each second's number in a field of the second modulo 128: this
-- second's is n, nil when it has none, the others are in at once seconds was asked for them.
local function rate(key)
	local r = rates[key]
	if r then return r end
	local v = call('HMGET', key, 's', 'f', slot)
	local f = tonumber(v[2])
	r = {s = tonumber(v[1]), f = f, n = tonumber(v[3])}
	rates[key] = r
	if not f or f > sec or sec - 60 > f + 127 then
		if f then call('DEL', key) end
		r.s, r.f, r.n, r.first = 0, sec, nil, true
	elseif f < sec - 60 then
		local old = {}
		for i = f, sec - 61 do old[#old + 1] = i % 128 end
		for _, n in ipairs(call('HMGET', key, unpack(old))) do r.s = r.s - (tonumber(n) or 0) end
		call('HDEL', key, unpack(old))
		r.f = sec - 60
		call('HSET', key, 's', r.s, 'f', r.f)
		if f + 128 <= sec then r.n = nil end -- what the field had was of an older second
	end
	return r
end

-- Reads the seconds before this one.
local function seconds(key, r)
	if r.at then return r.at end
	local at, fields = {}, {}
	for i = r.f, sec - 1 do fields[#fields + 1] = i % 128 end
	if #fields > 0 then
		for i, n in ipairs(call('HMGET', key, unpack(fields))) do at[r.f + i - 1] = tonumber(n) end
	end
	r.at = at
	return at
end

-- Adds to what was admitted in a second that counts still.
local function count(key, at, n)
	if n == 0 or at < sec - 60 or at > sec then return end
	local r = rate(key)
	r.s, r.dirty = r.s + n, true
	if at == sec then
		r.new = r.new or not r.n
		r.n = (r.n or 0) + n
		return
	end
	local old = seconds(key, r)
	if at < r.f then r.f, r.first = at, true end
	r.new = r.new or not old[at]
	old[at] = (old[at] or 0) + n
	r.set = r.set or {}
	r.set[at] = true
end

-- How many calls are under way.
local function running(key)
	local r = parallel[key]
	if not r then
		r = {n = tonumber(call('GET', key)) or 0, by = 0}
		parallel[key] = r
	end
	return r
end

local function left(key)
	local r = running(key)
	r.n, r.by = r.n - 1, r.by - 1
end

-- What a call holds in entries; false or nil when that is nothing. They are four of each counter: metric, key, and of money two limbs,
-- of a rate the second and the number.
local function held(id)
	local r = calls[id]
	if not r then
		local packed = call('HGET', KEYS[2], id)
		r = {entries = packed and cmsgpack.unpack(packed)}
		calls[id] = r
	end
	return r
end

local function add4(list, a, b, c, d)
	local n = #list
	list[n + 1], list[n + 2], list[n + 3], list[n + 4] = a, b, c, d
end

-- Reads at once what calls hold.
local function fetch(ids)
	if #ids < 2 then return end
	for i, packed in ipairs(call('HMGET', KEYS[2], unpack(ids))) do calls[ids[i]] = {entries = packed and cmsgpack.unpack(packed)} end
end

-- Ends a reservation, and returns the keys that it held; false when there was none. used has what the call has really used by
-- metric, and counted the keys of the rates that it counts in; nil: rates stay as they are.
local function release(id, used, counted)
	local r = held(id)
	if not r.entries then return false end
	local had = {}
	local all = r.entries
	for i = 1, #all, 4 do
		local metric, key, x, y = all[i], all[i + 1], all[i + 2], all[i + 3]
		had[key] = true
		if metric == 'c' then
			local v = budget(key)
			if v.reserved then
				v.c, v.d = add(v.c, v.d, -x, -y)
				if v.c < 0 then v.c, v.d = 0, 0 end
				v.dirty = true
			end
		elseif metric == 'p' then
			left(key)
		elseif used then
			count(key, x, (counted[key] and used[metric] or 0) - y)
		end
	end
	r.entries, r.dirty = nil, true
	return had
end

-- A call is not under way any more. What else it holds stays until its record is applied.
local function finish(id)
	local r = held(id)
	if not r.entries then return end
	local rest, all = {}, r.entries
	for i = 1, #all, 4 do
		if all[i] == 'p' then
			left(all[i + 1])
			r.dirty = true
		else
			add4(rest, all[i], all[i + 1], all[i + 2], all[i + 3])
		end
	end
	r.entries = rest
end

-- Ends reservations whose leases ran out.
local function reap()
	for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)) do
		if not release(id, nil) then call('ZREM', KEYS[1], id) end
	end
end

-- Takes what a call needs. expires are the times at which the keys of budgets go.
local function take(id, entries, lease, expires)
	for i = 1, #entries, 4 do
		local metric, key, x, y = entries[i], entries[i + 1], entries[i + 2], entries[i + 3]
		if metric == 'c' then
			local r = budget(key)
			r.c, r.d = add(r.c, r.d, x, y)
			r.reserved, r.dirty = true, true
			expire(r, expires[key])
		elseif metric == 'p' then
			local r = running(key)
			r.n, r.by = r.n + 1, r.by + 1
		else
			count(key, x, y)
		end
	end
	local r = held(id)
	local all = r.entries
	if all and #all > 0 then
		for i = 1, #entries do all[#all + 1] = entries[i] end
	else
		r.entries = entries
	end
	r.dirty, r.lease = true, now + lease
end

-- Writes what was changed.
local function flush()
	for key, r in pairs(budgets) do
		if r.dirty and r.paid then
			call('HSET', key, 'a', r.a, 'b', r.b, 'c', r.c, 'd', r.d)
		elseif r.paid then
			call('HSET', key, 'a', r.a, 'b', r.b)
		elseif r.dirty then
			call('HSET', key, 'c', r.c, 'd', r.d)
		end
		local at = r.expire
		if at and at < 0 then call('EXPIRE', key, -at) end
		if at and at > 0 then call('EXPIREAT', key, at) end
	end
	for key, r in pairs(rates) do
		if r.dirty then
			if not r.first and not r.set then
				call('HSET', key, 's', r.s, slot, r.n)
			else
				local fields = {'s', r.s, 'f', r.f}
				for at in pairs(r.set or {}) do fields[#fields + 1], fields[#fields + 2] = at % 128, r.at[at] end
				if r.n then fields[#fields + 1], fields[#fields + 2] = slot, r.n end
				call('HSET', key, unpack(fields))
			end
			if r.new then call('EXPIRE', key, 62) end
		end
	end
	for key, r in pairs(parallel) do
		if r.n <= 0 then
			call('DEL', key)
		elseif r.by == 1 then
			call('INCR', key)
		elseif r.by ~= 0 then
			call('INCRBY', key, r.by)
		end
	end
	local gone, kept, leases = {}, {}, {}
	for id, r in pairs(calls) do
		if r.dirty and r.entries then
			kept[#kept + 1], kept[#kept + 2] = id, cmsgpack.pack(r.entries)
		elseif r.dirty then
			gone[#gone + 1] = id
		end
		if r.lease and r.entries then leases[#leases + 1], leases[#leases + 2] = r.lease, id end
	end
	if #gone > 0 then
		call('HDEL', KEYS[2], unpack(gone))
		call('ZREM', KEYS[1], unpack(gone))
	end
	if #kept > 0 then call('HSET', KEYS[2], unpack(kept)) end
	if #leases > 0 then call('ZADD', KEYS[1], unpack(leases)) end
end
