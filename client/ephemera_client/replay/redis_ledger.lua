-- One claim, or none: the whole of the ledger's logic, in the one place where it is atomic.
--
-- KEYS: the record of this part of the ledger, and the claim, if any, in the same hash slot.
-- ARGV: the server's run id, the verifier's clock; and for a claim its value, iat and exp.
-- Returns the outcome, and 1 if this part of the ledger has been born just now.

local RETENTION = 60
local CLOCKS_DIFFER = 30

local second = tonumber(redis.call('TIME')[1])
local now = tonumber(ARGV[2])
local held = redis.call('HMGET', KEYS[1], 'identity', 'birth', 'forgotten', 'latest')
local birth = tonumber(held[2] or 0)
local forgotten = tonumber(held[3] or 0)
local latest = tonumber(held[4] or 0)

-- Whatever ended this long ago by this clock has been dropped, if it was ever there. Written down
-- even if the clock is wrong, because then it has been dropped all the same.
if math.min(second - RETENTION, latest) > forgotten then
    forgotten = math.min(second - RETENTION, latest)
    redis.call('HSET', KEYS[1], 'forgotten', forgotten)
end

-- A birth by a clock that is behind would come before the claims that were lost.
if math.abs(second - now) > CLOCKS_DIFFER then
    return {'clocks_differ', 0}
end

-- The replication id changes with every start and promotion, on whatever the data came from.
local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local identity = ARGV[1] .. ':' .. replication
local born = 0
if held[1] ~= identity then
    birth = math.max(birth, math.max(second, now) + 1)
    redis.call('HSET', KEYS[1], 'identity', identity, 'birth', birth)
    born = 1
end
if not KEYS[2] then
    return {'begun', born}
end

local value, issued_at, expires_at = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local owner = redis.call('GET', KEYS[2])
if owner then
    -- Its own: sent before, on a connection that lost the reply.
    return {owner == value and 'accepted' or 'replayed', born}
end
if issued_at < birth then
    return {'unborn', born}
end
if expires_at <= forgotten then
    return {'forgotten', born}
end
-- By the clock that is behind, so that nobody drops it while another still takes the token.
local seconds = math.max(1, expires_at + RETENTION - math.min(second, now))
redis.call('SET', KEYS[2], value, 'NX', 'EX', seconds)
if expires_at > latest then
    redis.call('HSET', KEYS[1], 'latest', expires_at)
end
return {'accepted', born}
