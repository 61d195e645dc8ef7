-- Makes all changes or none. KEYS of change i (from 0): record, index, aliases at 3i+1. ARGV: the channel, then of each
-- change: kind, id, old record, new record, old alias, new alias, version; an empty one stands for none. A new record that equals the
-- old one is only compared.
local n = #KEYS / 3
local function arg(i, j) return ARGV[1 + 7 * i + j] end
local freed, taken = {}, {} -- aliases that these changes give up and take: aliases key and alias to id
for i = 0, n - 1 do
	if (redis.call('GET', KEYS[3 * i + 1]) or '') ~= arg(i, 3) then return 'changed' end
	if arg(i, 5) ~= '' then freed[KEYS[3 * i + 3] .. '\n' .. arg(i, 5)] = arg(i, 2) end
end
for i = 0, n - 1 do
	local alias = arg(i, 6)
	if alias ~= '' then
		local name = KEYS[3 * i + 3] .. '\n' .. alias
		local owner = redis.call('HGET', KEYS[3 * i + 3], alias)
		if taken[name] or owner and freed[name] ~= owner then return 'alias' end
		taken[name] = true
	end
end
local made = false -- a record is new, and needs memory; an entry of the audit log goes with whatever change it tells of
for i = 0, n - 1 do
	if arg(i, 3) == '' and arg(i, 4) ~= '' and arg(i, 1) ~= 'audit' then made = true end
end
-- Redis at maxmemory refuses a script's SET, but not after a write that frees memory: who may no longer call must be shut out then, too.
if not made then redis.call('ZREM', KEYS[2], '') end
for i = 0, n - 1 do
	if arg(i, 5) ~= '' then redis.call('HDEL', KEYS[3 * i + 3], arg(i, 5)) end
end
for i = 0, n - 1 do
	if arg(i, 3) == arg(i, 4) then
		-- compared above
	elseif arg(i, 4) == '' then
		redis.call('DEL', KEYS[3 * i + 1])
		redis.call('ZREM', KEYS[3 * i + 2], arg(i, 2))
	else
		redis.call('SET', KEYS[3 * i + 1], arg(i, 4))
		redis.call('ZADD', KEYS[3 * i + 2], 0, arg(i, 2))
	end
	if arg(i, 3) ~= arg(i, 4) then
		if arg(i, 6) ~= '' then redis.call('HSET', KEYS[3 * i + 3], arg(i, 6), arg(i, 2)) end
		if arg(i, 1) ~= 'audit' then redis.call('PUBLISH', ARGV[1], arg(i, 1) .. ':' .. arg(i, 7) .. ':' .. arg(i, 2)) end
	end
end
return 'ok'
