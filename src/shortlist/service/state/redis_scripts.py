"""What the server runs for :mod:`.redis`, each alone and whole: it lets no other call in between, and stops at no limit half-way."""

# KEYS: for each event the key of its id and of its user's list. ARGV: seconds to know ids, events to keep, then the events.
# Answers 1 for each that was stored, 0 for each that was known.
APPEND = """
local stored, grown = {}, {}
for i = 1, #KEYS / 2 do
  stored[i] = 0
  if redis.call('SET', KEYS[2 * i - 1], '', 'NX', 'EX', ARGV[1]) then
    redis.call('RPUSH', KEYS[2 * i], ARGV[i + 2])
    grown[KEYS[2 * i]] = true
    stored[i] = 1
  end
end
for key in pairs(grown) do redis.call('LTRIM', key, -ARGV[2], -1) end
return stored
"""
# KEYS: the counter, the revisions of items, their rows. ARGV: ids and rows in turn. Answers the last revision.
CHANGE = """
local last = 0
for i = 1, #ARGV, 2 do
  last = redis.call('INCR', KEYS[1])
  redis.call('ZADD', KEYS[2], last, ARGV[i])
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
end
return last
"""
# KEYS: the revisions of items, their rows. ARGV: the revision after which, and how many at most. Answers revision, id and row.
CHANGES = """
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local rows = {}
for i = 1, #found, 2 do
  rows[#rows + 1] = {found[i + 1], found[i], redis.call('HGET', KEYS[2], found[i])}
end
return rows
"""
