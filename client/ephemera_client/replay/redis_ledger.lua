-- Claims, each made or not: the whole of the ledger's logic, in the one place where it is atomic.
--
-- KEYS: for each claim the record of its part of the ledger, and its own key in the same hash slot;
-- the record twice just to see that this part has begun.
-- ARGV: the server's run id, and for all claims side by side what LAYOUT says.
-- Returns a letter for each claim, see OUTCOMES in redis_primary.py, and 1 if some part of the
-- ledger has been born just now.

local RETENTION = 60
local CLOCKS_DIFFER = 30
-- The claim's value, the verifier's clock, iat and exp.
local LAYOUT = '>c12i8i8i8'
local SIZE = 36

local second = tonumber(redis.call('TIME')[1])
-- The replication id changes with every start and promotion, on whatever the data came from.
local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local identity = ARGV[1] .. ':' .. replication
local born = 0

local function claim(record, key, value, now, issued_at, expires_at)
    local held = redis.call('HMGET', record, 'identity', 'birth', 'forgotten', 'latest')
    local birth = tonumber(held[2] or 0)
    local forgotten = tonumber(held[3] or 0)
    local latest = tonumber(held[4] or 0)

    -- Whatever ended this long ago by this clock has been dropped, if it was ever there. Written
    -- down even if the clock is wrong, because then it has been dropped all the same.
    if math.min(second - RETENTION, latest) > forgotten then
        forgotten = math.min(second - RETENTION, latest)
        redis.call('HSET', record, 'forgotten', forgotten)
    end

    -- A birth by a clock that is behind would come before the claims that were lost.
    if math.abs(second - now) > CLOCKS_DIFFER then
        return 'c'
    end

    if held[1] ~= identity then
        birth = math.max(birth, math.max(second, now) + 1)
        redis.call('HSET', record, 'identity', identity, 'birth', birth)
        born = 1
    end
    if key == record then
        return 'b'
    end

    local owner = redis.call('GET', key)
    if owner then
        -- Its own: sent before, on a connection that lost the reply.
        return owner == value and 'a' or 'r'
    end
    if issued_at < birth then
        return 'u'
    end
    if expires_at <= forgotten then
        return 'f'
    end
    -- By the clock that is behind, so that nobody drops it while another still takes the token.
    local seconds = math.max(1, expires_at + RETENTION - math.min(second, now))
    redis.call('SET', key, value, 'NX', 'EX', seconds)
    if expires_at > latest then
        redis.call('HSET', record, 'latest', expires_at)
    end
    return 'a'
end

local outcomes = {}
for number = 1, #KEYS / 2 do
    outcomes[number] = claim(
        KEYS[2 * number - 1], KEYS[2 * number],
        struct.unpack(LAYOUT, ARGV[2], (number - 1) * SIZE + 1)
    )
end
return {table.concat(outcomes), born}
