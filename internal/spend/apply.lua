-- Adds a batch when the spool's cursor is where the batch begins. KEYS[1] is the hash of cursors. ARGV: spool, from, to; key of
-- the first day from which on rows by pairs are whole, and that day for books that have older rows; number of names, each: key,
-- number, text; then of each row: key of its hash, key of the set of shards, shard, seconds to live (0: for ever), number in the
-- hash, number of measures, each: name and two limbs. Returns the cursor.
local cursor = redis.call('HGET', KEYS[1], ARGV[1]) or '0'
if cursor ~= ARGV[2] then return cursor end
redis.call('SETNX', ARGV[4], redis.call('EXISTS', KEYS[1]) == 0 and '0' or ARGV[5])
local at = 7
for _ = 1, tonumber(ARGV[6]) do
	local key, id, text = ARGV[at], ARGV[at + 1], ARGV[at + 2]
	if redis.call('HSETNX', key, id, text) == 0 and redis.call('HGET', key, id) ~= text then
		return redis.error_reply('two names have one number')
	end
	at = at + 3
end
while ARGV[at] do
	local key, shards, shard, live, id, n = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], tonumber(ARGV[at + 5])
	at = at + 6
	for _ = 1, n do
		local measure, h, l = ARGV[at], ARGV[at + 1], ARGV[at + 2]
		if h ~= '0' then redis.call('HINCRBY', key, id .. 'h' .. measure, h) end
		if l ~= '0' then redis.call('HINCRBY', key, id .. 'l' .. measure, l) end
		at = at + 3
	end
	redis.call('SADD', shards, shard)
	if live ~= '0' then
		redis.call('EXPIRE', key, live)
		redis.call('EXPIRE', shards, live)
	end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return ARGV[3]
