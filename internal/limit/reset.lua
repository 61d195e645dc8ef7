-- Forgets all that was applied. KEYS[3] is the hash of cursors. ARGV: time, the pattern of budgets, the pattern of totals. It
-- looks at every key of the node in one go.
local cursor = '0'
repeat
	local page = redis.call('SCAN', cursor, 'MATCH', ARGV[2], 'COUNT', 1000)
	cursor = page[1]
	for _, key in ipairs(page[2]) do redis.call('HDEL', key, 'a', 'b') end
until cursor == '0'
repeat
	local page = redis.call('SCAN', cursor, 'MATCH', ARGV[3], 'COUNT', 1000)
	cursor = page[1]
	for _, key in ipairs(page[2]) do redis.call('UNLINK', key) end
until cursor == '0'
redis.call('DEL', KEYS[3])
return 1
