-- Ends calls, and admits others, one after the other: all counters of a call are checked and then all taken, or none. ARGV: time, and as MessagePack
-- a list of the lease, a list of the ids of calls that are not under way any more, and of each call a list: id, and of each
-- counter: metric, key, need and limit; of money both are two numbers, and first second and end of its window, and when its key
-- expires follow. A negative limit is none. KEYS[3] is the sorted set of instances. Returns as MessagePack a list of the time, the number of instances,
-- and of each call a list: a code, and
-- 0: four numbers of each counter as they are now; 1: which counter does not admit the call, and its four numbers;
-- 2: the time is outside of a window.
local asked = cmsgpack.unpack(ARGV[2])
local lease = asked[1]
local ids = asked[2]
local done = #ids
for i = 3, #asked do ids[#ids + 1] = asked[i][1] end
fetch(ids)
for i = 1, done do finish(ids[i]) end
reap()

-- When a rate has room again, in milliseconds from now.
local function wait(key, r, need, most)
	local s, at = r.s, seconds(key, r)
	for j = r.f, sec do
		s = s - ((j == sec and r.n or at[j]) or 0)
		if s < most and s + need <= most then return (j + 61) * 1000 - now end
	end
	return 0
end

-- Checks a call's counters. Returns what it takes when it is admitted, or the answer.
local function check(c, had)
	local entries, expires, i, counter = {}, {}, 2, 0
	while c[i] do
		local metric, key, need, most = c[i], c[i + 1], c[i + 2], c[i + 3]
		counter = counter + 1
		if metric == 'c' then
			local l, maxh, maxl, from, to = most, c[i + 4], c[i + 5], c[i + 6], c[i + 7]
			if sec < from or to > 0 and sec >= to then return nil, {2} end
			if not had[key] then
				local r = budget(key)
				local a, b = r.a, r.b
				if maxh >= 0 then
					local h, low = add(r.c, r.d, need, l)
					h, low = add(a, b, h, low)
					if above(h, low, maxh, maxl) or not above(maxh, maxl, a, b) then return nil, {1, counter, a, b, r.c, r.d} end
				end
				add4(entries, 'c', key, need, l)
				expires[key] = c[i + 8]
			end
			i = i + 9
		else
			if had[key] then
				-- it has that already
			elseif metric == 'p' then
				local n = running(key).n
				if most >= 0 and n + need > most then return nil, {1, counter, n, 0, 0, 0} end
				add4(entries, 'p', key, 0, 0)
			else
				local r = rate(key)
				local s = r.s
				if most >= 0 and (s >= most or s + need > most) then return nil, {1, counter, s, wait(key, r, need, most), 0, 0} end
				add4(entries, metric, key, sec, need)
			end
			i = i + 4
		end
	end
	return entries, expires
end

-- Four numbers of each counter of a call that was admitted.
local function states(c)
	local out, i = {0}, 2
	while c[i] do
		local metric, key = c[i], c[i + 1]
		if metric == 'c' then
			local r = budget(key)
			add4(out, r.a, r.b, r.c, r.d)
			i = i + 9
		else
			add4(out, metric == 'p' and running(key).n or metric ~= 'p' and rate(key).s, 0, 0, 0)
			i = i + 4
		end
	end
	return out
end

local replies = {now, call('ZCOUNT', KEYS[3], now, '+inf')}
for i = 3, #asked do
	local c, had = asked[i], {}
	local before = held(c[1]).entries or had
	for j = 2, #before, 4 do had[before[j]] = true end -- it has been asked for before
	local taken, other = check(c, had)
	if taken and #taken > 0 then take(c[1], taken, lease, other) end
	replies[i] = taken and states(c) or other
end
flush()
return cmsgpack.pack(replies)
