-- Applies a batch when the spool's cursor is where the batch begins. KEYS[3] is the hash of cursors. ARGV: time, spool, from,
-- to; number of budgets, each: key, two limbs, when it expires; number of totals, each: key, field, two limbs; then of each
-- call: id, input tokens, output tokens, second of its admission, number of rates, each: metric, key. Returns the cursor.
local cursor = call('HGET', KEYS[3], ARGV[2]) or '0'
if cursor ~= ARGV[3] then return cursor end
local at = 6
for _ = 1, tonumber(ARGV[5]) do
	local r = budget(ARGV[at])
	r.a, r.b = add(r.a, r.b, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
	r.paid = true
	expire(r, tonumber(ARGV[at + 3]))
	at = at + 4
end
local totals, n = at + 1, tonumber(ARGV[at])
at = totals + 4 * n
while ARGV[at] do
	local i, o = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
	local used, counted = {q = 1, t = i + o, i = i, o = o}, {}
	local admitted, rates = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
	for j = 0, rates - 1 do counted[ARGV[at + 6 + 2 * j]] = true end
	local had = release(ARGV[at], used, counted) or {}
	at = at + 5
	for _ = 1, rates do
		-- Without a reservation the store has lost what it knew of the last minute.
		if not had[ARGV[at + 1]] then count(ARGV[at + 1], admitted, used[ARGV[at]]) end
		at = at + 2
	end
end
flush()
for i = totals, totals + 4 * n - 1, 4 do
	local key, field, h, l = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
	if h ~= '0' then call('HINCRBY', key, 'h' .. field, h) end
	if l ~= '0' then call('HINCRBY', key, 'l' .. field, l) end
end
call('HSET', KEYS[3], ARGV[2], ARGV[4])
return ARGV[4]
