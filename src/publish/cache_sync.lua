#!lua name=cache_sync
-- version: 1
--
-- Fill and invalidation protocol of cache_sync; PROTOCOL.md beside this file is its manual.
-- An entry is one hash key. What belongs to the node (incarnation id, LSN watermark, tag table)
-- lives in this VM and never in keys: a restart, a failover or a reload forgets it, and a node
-- that forgot answers "bypass" until it is armed with a new id, under which all older entries
-- are misses. So a loss costs a miss or a refused fill, never a stale hit.

-- No global but redis exists while a library loads; the string functions hang on any string.
local any_text = ''
local find, sub, byte, format = any_text.find, any_text.sub, any_text.byte, any_text.format
local match, gmatch = any_text.match, any_text.gmatch

local MAX_TAGS = 20000                    -- bumped tags remembered; past it all tagged entries miss
local CHUNK = 5000                        -- unpack() fills the Lua stack, which ends near 8,000
local MAX_MS = 366 * 24 * 3600 * 1000
local MAX_EXACT = 9007199254740991        -- 2^53 - 1
local LEASE_MARK = '\0cs:'                -- first bytes of a plain string that is a lease

-- Field m: format, flags, n, soft expiry, delta, stale since; then the text "id need ver tags".
local HEAD, FORMAT, TEXT = '>BBI6I6I4I6', 1, 25
local NEGATIVE, TAGGED = 1, 2             -- flags

local sources = {}                        -- src -> state of this node for one publisher
local seed = 1

local function refuse(code, name, text) return {err = code .. ' ' .. name .. ': ' .. text} end

-- LSNs, xids and versions pass 2^53, so they stay decimal text: compared by length, then bytes.
local function later(a, b) return #a > #b or (#a == #b and a > b) end

local function highest(a, b) return later(b, a) and b or a end

-- Milliseconds since 1970, and the clock as the server gives it: microseconds, seconds.
local function clock()
  local time = redis.call('TIME')
  local us = tonumber(time[2])
  return time[1] * 1000 + (us - us % 1000) / 1000, us, time[1]
end

-- In (0, 1]. math.random repeats one sequence in every process, so the clock is mixed in.
local function draw(us)
  seed = (seed * 16807 + us) % 2147483647
  return (seed + 1) / 2147483647
end

-- Arguments -----------------------------------------------------------------------------------
local function any(text) return text end

local function whole(low, high)
  return function(text)
    local number = find(text, '^%d+$') and tonumber(text)
    if number and number >= low and number <= high then return number end
    return nil, format('a whole number from %.0f to %.0f', low, high)
  end
end

local function shaped(pattern, longest, wanted)
  return function(text)
    local value = #text <= longest and match(text, pattern)
    if value then return value end
    return nil, wanted
  end
end

local function or_empty(check)
  return function(text) if text == '' then return text end return check(text) end
end

local function proof(text)
  local side, lsn = match(text, '^([PR])0*(%d+)$')
  if text == 'P' or (side and #lsn <= 20) then return side and side .. lsn or text end
  return nil, 'P, P<lsn> or R<lsn>'
end

local function snapshot(text)
  local xmin, xmax, list = match(text, '^(%d+):(%d+):([%d,]*)$')
  if not xmin then return nil, 'a snapshot xmin:xmax:xip,...' end
  local running = {}
  for xid in gmatch(list, '%d+') do running[xid] = true end
  return {xmin = xmin, xmax = xmax, running = running}
end

local decimal = shaped('^0*(%d+)$', 20, 'a decimal number')
local word = shaped('^[%w_%-]+$', 64, '1 to 64 letters, digits, _ or -')
local some_ms, ms, flag = whole(1, MAX_MS), whole(0, MAX_MS), whole(0, 1)
local checks = {                          -- a name means the same in every function
  src = shaped('^.+$', 256, '1 to 256 bytes'), epoch = whole(0, MAX_EXACT), id = word, lsn = decimal,
  floor = or_empty(decimal), done = or_empty(snapshot), flush = flag, lease_ms = some_ms, hard_ms = some_ms,
  life_ms = some_ms, ttl_ms = ms, tomb_ms = ms, keep_ms = ms, max_stale_ms = ms, soft_ms = ms,
  delta_ms = whole(0, 4294967295), neg = flag, nonce = word, xid = or_empty(decimal),
  beta = shaped('^%d+%.?%d*$', 10, 'a number like 1.5'), fence = proof, ver = decimal, batch = decimal,
  token = any, value = any, tags = any, tag = any,
}

-- The same few short texts come with nearly every call; a look-up costs a tenth of a check.
local function examine(arg, text)
  local value, wanted = arg.check(text)
  if value ~= nil and arg.check ~= word and #text <= 20 then
    if arg.size >= 1000 then arg.known, arg.size = {}, 0 end
    arg.known[text], arg.size = value, arg.size + 1
  end
  return value, wanted
end

-- Registers a function. keys: how many (-1: one or more). args names the arguments; "name?" may
-- be left out, "name*" repeats. body gets the keys and the checked arguments.
local function define(name, flags, keys, args, body)
  local spec, least, most = {}, 0, 0
  for arg, mark in gmatch(args, '([%w_]+)([?*]?)') do
    most = most + 1
    spec[most] = {name = arg, check = checks[arg], known = {}, size = 0}
    if mark ~= '?' then least = most end
    if mark == '*' then most = 1 / 0 end
  end
  local last = spec[#spec]
  redis.register_function{function_name = name, flags = flags, callback = function(given_keys, given)
    local count = #given
    if #given_keys ~= keys and (keys >= 0 or #given_keys == 0) then
      return refuse('ERR', name, 'wrong number of keys')
    end
    if count < least or count > most then
      return refuse('ERR', name, 'wrong number of arguments, wanted ' .. args)
    end
    for i = 1, count do
      local arg = spec[i] or last
      local value, wanted = arg.known[given[i]], nil
      if value == nil then value, wanted = examine(arg, given[i]) end
      if value == nil then return refuse('ERR', name, arg.name .. ' must be ' .. wanted) end
      given[i] = value
    end
    return body(given_keys, given)
  end}
end

-- Node state ----------------------------------------------------------------------------------
-- The state that a publisher command may act on, or nil and the error. An epoch above the node's
-- is UNARMED too: its publisher armed this node before the node forgot.
local function armed(name, src, epoch)
  local state = sources[src]
  if state and epoch == state.epoch then return state end
  if state and epoch < state.epoch then
    return nil, refuse('ESTALE', name, format('epoch %.0f is older than %.0f', epoch, state.epoch))
  end
  return nil, refuse('UNARMED', name, 'this node must be armed first')
end

-- Raises the watermark. Only a tombstone lets the floor stay behind, and only in relaxed mode.
local function advance(state, lsn, tombstone)
  if lsn == state.cur and lsn == state.floor then return end  -- the same batch goes on
  state.cur = highest(state.cur, lsn)
  if not (state.relaxed and tombstone) then state.floor = highest(state.floor, lsn) end
end

-- Was everything of the transaction published? Without a published snapshot nothing is known.
local function published(done, xid)
  if not done then return false end
  return later(done.xmin, xid) or (later(done.xmax, xid) and not done.running[xid])
end

-- Is no tag of the list bumped since counter value n?
local function tags_hold(state, tags, n)
  if n >= state.n or tags == '' then return true elseif n < state.tfloor then return false end
  for tag in gmatch(tags, '[^,]+') do
    if (state.tags[tag] or 0) > n then return false end
  end
  return true
end

local function bump(state, tag)
  if not state.tags[tag] then
    if state.tag_count >= MAX_TAGS then
      state.tags, state.tag_count, state.tfloor = {}, 0, state.n
    end
    state.tag_count = state.tag_count + 1
  end
  state.tags[tag] = state.n
end

-- Entries and leases --------------------------------------------------------------------------
-- need, ver and tags of a field m.
local function meta_text(meta) return match(meta, '^%S+ (%d+) (%d+) (.*)$', TEXT) end

-- n, soft, delta, since, flags; nil if the entry is of another incarnation or a tag was bumped.
local function live(state, meta)
  if find(meta, state.mark, TEXT, true) ~= TEXT then return nil end
  local _, flags, n, soft, delta, since = struct.unpack(HEAD, meta)
  if flags >= TAGGED and n < state.n then
    local _, _, tags = meta_text(meta)
    if not tags_hold(state, tags, n) then return nil end
  end
  return n, soft, delta, since, flags
end

-- The version an entry of this incarnation carries, '0' for none.
local function version_of(state, meta)
  if not meta or find(meta, state.mark, TEXT, true) ~= TEXT then return '0' end
  local _, ver = meta_text(meta)
  return ver
end

-- expiry, need, token of a field t; nil if it is no lease.
local function read_lease(lease)
  local need, token = match(lease, '^(%d+) (%S+)$', 7)
  if token then return struct.unpack('>I6', lease), need, token end
end

-- The same, only for a lease that can still be filled.
local function held(state, lease, now)
  local expiry, need, token = read_lease(lease or '')
  if expiry and now < expiry and find(token, state.prefix, 1, true) == 1 then return expiry, need, token end
end

-- A hash that this library did not write is somebody's data: leave it alone, and say so.
local function check_ours(key, meta, lease, tomb)
  local ours = (not meta or byte(meta) == FORMAT) and (not lease or read_lease(lease)) and (not tomb or decimal(tomb))
  if not (meta or lease or tomb) then ours = redis.call('EXISTS', key) == 0 end
  if not ours then error({err = 'WRONGTYPE Operation against a hash that is not a cache entry'}) end
end

-- Grants the lease of a key: token, need, tombstone; or false and the ms left to its holder.
local function grant(state, key, call, meta)
  local got = redis.call('HMGET', key, 't', 'l')
  local lease, tomb = got[1], got[2]
  local expiry = held(state, lease, call.now)
  if expiry then return false, expiry - call.now end
  check_ours(key, meta, lease, tomb)
  local need = highest(state.floor, tomb or '0')
  if call.n then need = highest(need, (meta_text(meta))) end
  local token = format('%s%.0f.%s%06d.%s', state.prefix, state.n, call.seconds, call.us, call.nonce)
  redis.call('HSET', key, 't', struct.pack('>I6', call.now + call.lease_ms) .. need .. ' ' .. token)
  return token, need, tomb
end

-- Gives a key without a fresh value the life of its lease, unless what it holds lasts longer.
-- A stale value goes rather than outlive the time it was kept for.
local function settle(key, meta, lasting, lease_ms)
  if lasting and redis.call('PTTL', key) >= lease_ms then return end
  if meta then redis.call('HDEL', key, 'm', 'v') end
  redis.call('PEXPIRE', key, lease_ms)
end

-- XFetch: the chance of an early refresh rises towards the soft expiry, so that a hot entry is
-- refreshed by one reader before anybody has to wait for it.
local function due(now, us, soft, delta, beta)
  local ahead = soft - now
  if ahead <= 0 then return true end
  if ahead > 20 * delta then return false end
  return -delta * beta * math.log(draw(us)) >= ahead
end

-- Writes a value; lease and tombstone end with it. The life is spread so that entries filled
-- together do not expire together.
local function store(state, key, now, us, e)
  local flags = (e.neg == 1 and NEGATIVE or 0) + (e.tags ~= '' and TAGGED or 0)
  local head = struct.pack(HEAD, FORMAT, flags, e.n, now + e.soft_ms, e.delta_ms, 0)
  redis.call('HSET', key, 'm', head .. state.mark .. e.need .. ' ' .. e.ver .. ' ' .. e.tags, 'v', e.value)
  redis.call('HDEL', key, 't', 'l')
  redis.call('PEXPIRE', key, math.ceil(e.hard_ms * (0.9 + 0.2 * draw(us))))
end

-- Reader side ---------------------------------------------------------------------------------
local function bypass() return {'B', '', '', 0, ''} end

-- The publisher is silent: what is cached may be as old as its last heartbeat.
local function lapsed(state, now, value, since, flags, max_stale_ms)
  if not since or flags % 2 == NEGATIVE then return bypass() end
  local age = now - state.beat
  if since > 0 and now - since > age then age = now - since end
  if age >= max_stale_ms then return bypass() end
  return {'S', value, '', age, ''}
end

-- No fresh value: a kept stale one for those who asked, and the lease for the first who comes.
local function miss(state, key, call, meta, value, since)
  local token, more, tomb = grant(state, key, call, meta)
  local age = since and call.now - since
  if age and age < call.max_stale_ms then
    return {'S', value, token or '', age, token and more or ''}
  end
  if not token then return {'M', '', '', more, ''} end
  settle(key, meta, since or tomb, call.lease_ms)
  return {'M', '', token, call.lease_ms, more}
end

local function get(keys, args)
  local key, state, xid = keys[1], sources[args[1]], args[5]
  if not state or (xid and xid ~= '' and not published(state.done, xid)) then return bypass() end
  local got = redis.call('HMGET', key, 'm', 'v')
  local meta, value = got[1], got[2]
  local now, us, seconds = clock()
  local n, soft, delta, since, flags
  if value and meta then n, soft, delta, since, flags = live(state, meta) end
  if state.till > 0 and now > state.till then return lapsed(state, now, value, since, flags, args[3]) end
  local fresh, absent = since == 0, n and flags % 2 == NEGATIVE
  local token, need
  if not fresh or due(now, us, soft, delta, args[6] or 1) then
    local call = {now = now, us = us, seconds = seconds, lease_ms = args[2], max_stale_ms = args[3],
                  nonce = args[4], n = n}
    if not fresh then return miss(state, key, call, meta, value, since) end
    token, need = grant(state, key, call, meta)
  end
  if token then return {absent and 'N' or 'H', value, token, args[2], need} end
  if absent then return {'N', '', '', 0, ''} end
  return value
end

local function fill(keys, args)
  local key, state, value, fence, neg, tags = keys[1], sources[args[1]], args[3], args[7], args[8], args[9]
  if neg == 1 and value ~= '' then return refuse('ERR', 'cs_fill', 'a cached absence has no value') end
  if not state then return {0, 'UNARMED', ''} end
  local now, us = clock()
  local got = redis.call('HMGET', key, 't', 'm')
  local expiry, need, token = held(state, got[1], now)
  if not expiry or token ~= args[2] then return {0, 'LOST', ''} end
  local n = tonumber(match(token, '%.(%d+)%.', #state.prefix))
  if not tags_hold(state, tags, n) then
    redis.call('HDEL', key, 't')
    return {0, 'LOST', ''}
  end
  local lsn = fence == 'P' and need or sub(fence, 2)
  if byte(fence) == 82 and later(need, lsn) then return {0, 'FENCE', need} end
  -- A version put by an application outlives the refresh, or a late older put would win.
  store(state, key, now, us, {value = value, soft_ms = args[4], hard_ms = args[5], delta_ms = args[6], n = n,
        need = highest(need, lsn), ver = version_of(state, got[2]), neg = neg, tags = tags})
  return {1, 'OK', ''}
end

local function drop(keys, args)
  local _, _, token = read_lease(redis.call('HGET', keys[1], 't') or '')
  return token == args[2] and redis.call('HDEL', keys[1], 't') or 0
end

local function peek(keys, args)
  local key, state, valid, text = keys[1], sources[args[1]], 0, ''
  local got = redis.call('HMGET', key, 'm', 't', 'l')
  local meta = got[1]
  if meta and byte(meta) == FORMAT then
    local _, flags, n, soft, delta, since = struct.unpack(HEAD, meta)
    text = format('%.0f %.0f %.0f %.0f %d ', n, soft, delta, since, flags) .. sub(meta, TEXT)
    local beating = state and (state.till == 0 or clock() <= state.till)
    if beating and since == 0 and live(state, meta) then valid = 1 end
  end
  local expiry, need, token = read_lease(got[2] or '')
  local lease = expiry and format('%.0f %s %s', expiry, need, token) or ''
  return {valid, text, lease, got[3] or '', redis.call('HSTRLEN', key, 'v'), redis.call('PTTL', key)}
end

-- Publisher side ------------------------------------------------------------------------------
local function arm(_, args)
  local src, epoch, id, lsn, floor, ttl_ms, done, flush = unpack(args, 1, 8)
  local state, verdict = sources[src], 'KEPT'
  if state and epoch < state.epoch then
    return refuse('ESTALE', 'cs_arm', format('epoch %.0f is older than %.0f', epoch, state.epoch))
  end
  if not state or flush == 1 then
    if state and state.id == id then return refuse('ERR', 'cs_arm', 'a flush needs a new id') end
    state = {id = id, mark = id .. ' ', prefix = id .. '.', n = 0, tags = {}, tag_count = 0, tfloor = 0,
             cur = '0', floor = '0'}
    sources[src], verdict = state, 'NEW'
  end
  local now = clock()
  state.epoch, state.beat, state.till = epoch, now, ttl_ms > 0 and now + ttl_ms or 0
  state.cur = highest(state.cur, lsn)
  -- The floor never falls under one id: what lies below it may have had no tombstones.
  state.relaxed = floor ~= ''
  state.floor = highest(state.floor, state.relaxed and floor or state.cur)
  if done ~= '' then state.done = done end
  return {verdict, state.id, state.n, now}
end

-- Keeps a live value as a labelled stale one; false if there is none worth keeping.
local function keep_stale(state, key, now, keep_ms)
  local got = redis.pcall('HMGET', key, 'm', 'v')
  if got.err or not got[1] or not got[2] then return false end
  local n, soft, delta, since, flags = live(state, got[1])
  if not n or flags % 2 == NEGATIVE then return false end
  local head = struct.pack(HEAD, FORMAT, flags, n, soft, delta, since > 0 and since or now)
  redis.call('HSET', key, 'm', head .. sub(got[1], TEXT), 'l', state.cur)
  redis.call('HDEL', key, 't')
  if redis.call('PTTL', key) > keep_ms then redis.call('PEXPIRE', key, keep_ms) end
  return true
end

local function invalidate_one(state, key, now, tomb_ms, keep_ms)
  if keep_ms == 0 or not keep_stale(state, key, now, keep_ms) then redis.call('UNLINK', key) end
  if tomb_ms == 0 then return end
  redis.call('HSET', key, 'l', state.cur)
  if redis.call('PTTL', key) < tomb_ms then redis.call('PEXPIRE', key, tomb_ms) end
end

local function inval(keys, args)
  local tomb_ms, keep_ms, count = args[4], args[5], #keys
  local state, wrong = armed('cs_inval', args[1], args[2])
  if not state then return wrong end
  advance(state, args[3], tomb_ms > 0)
  if tomb_ms > 0 or keep_ms > 0 then
    local now = clock()
    for i = 1, count do invalidate_one(state, keys[i], now, tomb_ms, keep_ms) end
    return count
  end
  if count == 1 then redis.call('UNLINK', keys[1]) return 1 end
  for i = 1, count, CHUNK do
    redis.call('UNLINK', unpack(keys, i, math.min(i + CHUNK - 1, count)))
  end
  return count
end

local function put(keys, args)
  local key, value, neg, ver = keys[1], args[4], args[8], args[9]
  if neg == 1 and value ~= '' then return refuse('ERR', 'cs_put', 'a cached absence has no value') end
  local state, wrong = armed('cs_put', args[1], args[2])
  if not state then return wrong end
  advance(state, args[3], false)
  local got = redis.call('HMGET', key, 'm', 't', 'l')
  check_ours(key, got[1], got[2], got[3])
  local known = version_of(state, got[1])
  if ver ~= '0' and not later(ver, known) then
    redis.call('HDEL', key, 't')
    return {0, 'OLD', known}
  end
  local now, us = clock()
  store(state, key, now, us, {value = value, soft_ms = args[5], hard_ms = args[6], delta_ms = args[7],
        n = state.n, need = args[3], ver = ver, neg = neg, tags = args[10]})
  return {1, 'OK', ''}
end

-- A name may be a list like that of a fill, so that a comma never makes a bump miss its entries.
local function tag(_, args)
  local state, wrong = armed('cs_tag', args[1], args[2])
  if not state then return wrong end
  advance(state, args[3], false)
  state.n = state.n + 1
  for i = 4, #args do
    for name in gmatch(args[i], '[^,]+') do bump(state, name) end
  end
  return state.n
end

local function stat(_, args)
  local s = sources[args[1]]
  if not s then return {'', 0, 0, '0', '0', 0, 0, 0, 0} end
  return {s.id, s.epoch, s.n, s.cur, s.floor, s.tag_count, s.tfloor, s.beat, s.till}
end

-- Write-behind: a batch keeps its number until it is acknowledged -------------------------------
local function take(keys, args)
  local pending, drain = keys[1], keys[2]
  if redis.call('HLEN', drain) > 0 then
    if redis.call('HEXISTS', drain, '#') == 1 then return redis.call('HGETALL', drain) end
    return refuse('ERR', 'cs_take', 'the drain key holds no batch')
  end
  -- HLEN before RENAME: a key of another type must fail here, not after it was moved.
  if redis.call('HLEN', pending) == 0 then return {} end
  redis.call('RENAME', pending, drain)
  redis.call('HSET', drain, '#', args[1])
  return redis.call('HGETALL', drain)
end

local function ack(keys, args)
  return redis.call('HGET', keys[1], '#') == args[1] and redis.call('UNLINK', keys[1]) or 0
end

-- Plain strings: the lease is a marker in the same key -------------------------------------------
local function plain_get(keys, args)
  local value = redis.call('GET', keys[1])
  if not value then
    local _, us, seconds = clock()
    local token = format('%s%06d.%s', seconds, us, args[2])
    redis.call('SET', keys[1], LEASE_MARK .. token, 'PX', args[1])
    return {'M', '', token, args[1]}
  end
  if sub(value, 1, #LEASE_MARK) ~= LEASE_MARK then return {'H', value, '', 0} end
  return {'M', '', '', redis.call('PTTL', keys[1])}
end

local function plain_set(keys, args)
  if sub(args[2], 1, #LEASE_MARK) == LEASE_MARK then
    return refuse('ERR', 'cs_sset', 'a value must not begin like a lease')
  end
  if redis.call('GET', keys[1]) ~= LEASE_MARK .. args[1] then return 0 end
  redis.call('SET', keys[1], args[2], 'PX', args[3])
  return 1
end

local FULL, STATE = {'allow-oom'}, {'no-writes'}  -- works with memory full; writes no key
define('cs_get', FULL, 1, 'src lease_ms max_stale_ms nonce xid? beta?', get)
define('cs_fill', {}, 1, 'src token value soft_ms hard_ms delta_ms fence neg tags', fill)
define('cs_drop', FULL, 1, 'src token', drop)
define('cs_peek', STATE, 1, 'src', peek)
define('cs_arm', STATE, 0, 'src epoch id lsn floor ttl_ms done flush', arm)
define('cs_inval', FULL, -1, 'src epoch lsn tomb_ms keep_ms', inval)
define('cs_put', {}, 1, 'src epoch lsn value soft_ms hard_ms delta_ms neg ver tags', put)
define('cs_tag', STATE, 0, 'src epoch lsn tag*', tag)
define('cs_stat', STATE, 0, 'src', stat)
define('cs_take', {}, 2, 'batch', take)
define('cs_ack', FULL, 1, 'batch', ack)
define('cs_sget', FULL, 1, 'lease_ms nonce', plain_get)
define('cs_sset', {}, 1, 'token value life_ms', plain_set)
