defmodule Vdr.Cache.Backend.Server.Scripts do
  @moduledoc false
  # The scripts that run on the server. A script is atomic on the server, and one unit in every
  # mirror.
  #
  #     <prefix>e:<key>   an entry               <prefix>l:<key>   the lease of a fetch: a token
  #     <prefix>g:<tag>   a tag's generation     <prefix>t:<tag>   sorted set of the entries with the tag, by expiry
  #     <prefix>c         how many invalidations there were        <prefix>d:<nonce>   entries of a dead generation
  #     <prefix>d         hash of these nonces, and when each began
  #
  # An entry is valid while each of its stamps is the current generation of its tag. If the server
  # evicts a generation, reads of its entries miss. If it evicts a set, the next count is too low.
  # Neither makes an invalidated entry valid again.

  @common ~S"""
  local p = ARGV[1]
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)

  -- The parts of an envelope: flag, soft, fresh, stamps as pairs of tag and generation, where the value begins.
  local function open(b)
    if string.sub(b, 1, 3) ~= 'V1;' then return 'v', '', '', {}, 1 end
    local flag, soft, fresh, n, at = string.match(b, '^V1;(%a);(%d*);(%d*);(%d+);()')
    if not flag then return nil end
    local stamps = {}
    for i = 1, tonumber(n) do
      local length, from = string.match(b, '^(%d+):()', at)
      if not length then return nil end
      at = from + length + 16
      stamps[i] = {string.sub(b, from, from + length - 1), string.sub(b, from + length, at - 1)}
    end
    return flag, soft, fresh, stamps, at
  end

  local function get(k)
    local b = redis.pcall('GET', k)
    if type(b) ~= 'string' then return false end
    return b
  end

  -- Whether no tag of an entry was invalidated, but for one whose generation is given.
  local function stamped(stamps, tag, generation)
    for _, s in ipairs(stamps) do
      if s[1] == tag then
        if s[2] ~= generation then return false end
      elseif get(p .. 'g:' .. s[1]) ~= s[2] then
        return false
      end
    end
    return true
  end

  -- Whether an entry is what a read answers.
  local function fresh(b)
    if not b then return false end
    local flag, _, till, stamps = open(b)
    if not flag then return true end
    if flag == 'n' or (till ~= '' and tonumber(till) <= now) then return false end
    return stamped(stamps)
  end

  -- Enters an entry into the set of a tag. Both the set and the generation live as long as the last entry.
  local function track(tag, e, till)
    local t, g = p .. 't:' .. tag, p .. 'g:' .. tag
    redis.call('ZREMRANGEBYSCORE', t, '-inf', '(' .. string.format('%.0f', now))
    redis.call('ZADD', t, till, e)
    local last = redis.call('ZREVRANGE', t, 0, 0, 'WITHSCORES')[2]
    if last == 'inf' then
      redis.call('PERSIST', t)
      redis.call('PERSIST', g)
    else
      local at = string.format('%.0f', tonumber(last))
      redis.call('PEXPIREAT', t, at)
      redis.call('PEXPIREAT', g, at)
    end
  end

  local function generation(tag, new)
    local g = p .. 'g:' .. tag
    local nonce = get(g)
    if nonce and #nonce == 16 then return nonce end
    redis.call('SET', g, new)
    return new
  end

  local function after(ms)
    if ms == '' then return '' end
    return string.format('%.0f', now + ms)
  end
  """

  # ARGV: prefix, entry, lease, value, flag, ttl, keep, soft, mode, expected, number of tags, then
  # tags and new generations.
  @store ~S"""
  local function store(e, value, flag, ttl, keep, soft, tags, stamp)
    local life, till = '', '+inf'
    if flag == 'n' then life = keep
    elseif ttl ~= '' then life = string.format('%.0f', ttl + keep) end
    if life ~= '' then till = after(life) end
    local stamps = {}
    for i, tag in ipairs(tags) do stamps[i] = #tag .. ':' .. tag .. stamp(i, tag) end
    local b = value
    local limited = ttl ~= '' and tonumber(keep) > 0 and flag ~= 'n'
    if flag ~= 'v' or #tags > 0 or soft ~= '' or limited then
      b = 'V1;' .. flag .. ';' .. after(soft) .. ';' .. (limited and after(ttl) or '') .. ';' .. #tags .. ';' ..
        table.concat(stamps) .. value
    end
    if life == '' then redis.call('SET', e, b) else redis.call('SET', e, b, 'PX', life) end
    for _, tag in ipairs(tags) do track(tag, e, till) end
  end
  """

  @put @common <>
         @store <>
         ~S"""
         local e, l, value, flag, ttl, keep, soft = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
         local mode, expected = ARGV[9], ARGV[10]
         local old = get(e)
         if mode == 'new' and fresh(old) then return 0 end
         if mode == 'existing' and not fresh(old) then return 0 end
         if mode == 'version' and (old ~= expected or not fresh(old)) then return 0 end
         if ttl == '0' and tonumber(keep) == 0 and flag ~= 'n' then
           redis.call('DEL', e, l)
           return 1
         end
         -- The first write is one that a full server refuses, so that nothing is half done.
         if mode == 'version' and ARGV[11] == 'inherit' then
           local left = redis.call('PTTL', e)
           if left > 0 then redis.call('SET', e, value, 'PX', left) else redis.call('SET', e, value) end
           redis.call('DEL', l)
           return 1
         end
         local tags = {}
         local new = {}
         for i = 12, #ARGV, 2 do
           tags[#tags + 1] = ARGV[i]
           new[#new + 1] = ARGV[i + 1]
         end
         store(e, value, flag, ttl, keep, soft, tags, function(i, tag) return generation(tag, new[i]) end)
         redis.call('DEL', l)
         return 1
         """

  # ARGV: prefix, then pairs of entry and lease. Returns how many entries there were.
  @delete @common <>
            ~S"""
            local count = 0
            for i = 2, #ARGV, 2 do
              if fresh(get(ARGV[i])) then count = count + 1 end
              redis.call('UNLINK', ARGV[i], ARGV[i + 1])
            end
            return count
            """

  # ARGV: prefix, entry, lease. Returns the bytes.
  @take @common <>
          ~S"""
          local b = get(ARGV[2])
          local is = fresh(b)
          redis.call('DEL', ARGV[2], ARGV[3])
          if is then return b end
          return false
          """

  # ARGV: prefix, entry, lease, n. Returns the sum as text, `false` if there is no entry, and 0 if
  # the value is not an integer.
  @incr @common <>
          ~S"""
          local e, l = ARGV[2], ARGV[3]
          local b = get(e)
          if not fresh(b) then return false end
          local flag, _, _, _, at = open(b)
          local value = string.sub(b, at)
          if flag ~= 'v' or not string.match(value, '^%-?%d+$') then return 0 end
          local left = redis.call('PTTL', e)
          if at > 1 then redis.call('SET', e, value) end
          local sum = redis.pcall('INCRBY', e, ARGV[4])
          if type(sum) == 'table' then
            redis.call('SET', e, b)
            if left > 0 then redis.call('PEXPIRE', e, left) end
            return 0
          end
          sum = redis.call('GET', e)
          if at > 1 then
            redis.call('SET', e, string.sub(b, 1, at - 1) .. sum)
            if left > 0 then redis.call('PEXPIRE', e, left) end
          end
          redis.call('DEL', l)
          return sum
          """

  # ARGV: prefix, entry, ttl ('' for none). Returns whether there is an entry.
  @expire @common <>
            ~S"""
            local e, ttl = ARGV[2], ARGV[3]
            local b = get(e)
            if not fresh(b) then return 0 end
            local flag, soft, till, stamps, at = open(b)
            if not flag then return 0 end
            local left = redis.call('PTTL', e)
            if till ~= '' and ttl ~= '' then
              -- What is kept past its time is kept as long past the new one.
              local keep = math.max(0, left - (tonumber(till) - now))
              local head = 'V1;' .. flag .. ';' .. soft .. ';'
              redis.call('SET', e, head .. after(ttl) .. string.sub(b, #head + #till + 1), 'PX', string.format('%.0f', ttl + keep))
            elseif till ~= '' then
              local head = 'V1;' .. flag .. ';' .. soft .. ';'
              redis.call('SET', e, head .. string.sub(b, #head + #till + 1))
            elseif ttl == '' then
              redis.call('PERSIST', e)
            else
              redis.call('PEXPIRE', e, ttl)
            end
            local ends = '+inf'
            if ttl ~= '' then ends = string.format('%.0f', now + redis.call('PTTL', e)) end
            for _, s in ipairs(stamps) do track(s[1], e, ends) end
            return 1
            """

  # ARGV: prefix, tag, a nonce. Returns the dead generation, or false if no entry has the tag.
  @invalidate @common <>
                ~S"""
                local g, t, d = p .. 'g:' .. ARGV[2], p .. 't:' .. ARGV[2], p .. 'd:' .. ARGV[3]
                redis.call('INCR', p .. 'c')
                redis.call('PEXPIRE', p .. 'c', 86400000)
                local dead = get(g)
                redis.call('UNLINK', g)
                if redis.call('EXISTS', t) == 0 then return false end
                redis.call('RENAME', t, d)
                -- Who finds it there after a while finishes it.
                redis.call('HSET', p .. 'd', ARGV[3], string.format('%.0f', now))
                return dead
                """

  # ARGV: prefix, tag, the dead generation ('' if the server evicted it), the nonce of the set.
  # Returns the number of entries that were live, and whether there are more.
  @drain @common <>
           ~S"""
           local tag, dead, d = ARGV[2], ARGV[3], p .. 'd:' .. ARGV[4]
           local count = 0
           local members = redis.call('ZRANGE', d, 0, 499)
           for _, e in ipairs(members) do
             local b = get(e)
             local flag, till, stamps, _
             if b then flag, _, till, stamps = open(b) end
             -- An entry that was put again meanwhile is valid, and stays.
             if flag and not stamped(stamps) then
               for _, s in ipairs(stamps) do
                 if s[1] == tag and s[2] == dead and flag ~= 'n' and (till == '' or tonumber(till) > now) and
                    stamped(stamps, tag, dead) then
                   count = count + 1
                   break
                 end
               end
               redis.call('UNLINK', e)
             end
             redis.call('ZREM', d, e)
           end
           local more = redis.call('EXISTS', d)
           if more == 0 then redis.call('HDEL', p .. 'd', ARGV[4]) end
           return {count, more}
           """

  # ARGV: prefix, entry, lease, token, ms, then tags and new generations. Returns {'hit', bytes},
  # {'held', ms}, or {'granted', bytes or false, invalidations, generations...}.
  @acquire @common <>
             ~S"""
             local e, l, token, ms = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
             local b = get(e)
             if b then
               local flag, _, _, stamps = open(b)
               if fresh(b) or (flag == 'n' and stamped(stamps)) then
                 if ARGV[6] ~= 'refresh' then return {'hit', b} end
               end
             end
             if not redis.call('SET', l, token, 'NX', 'PX', ms) then return {'held', redis.call('PTTL', l)} end
             local answer = {'granted', b, get(p .. 'c') or '0'}
             for i = 7, #ARGV, 2 do
               local g = p .. 'g:' .. ARGV[i]
               local nonce = get(g)
               if not nonce then
                 nonce = ARGV[i + 1]
                 redis.call('SET', g, nonce, 'PX', ms * 10)
               end
               answer[#answer + 1] = nonce
             end
             return answer
             """

  # ARGV: prefix, entry, lease, token, bytes seen ('' for none), invalidations seen, value, flag,
  # ttl, keep, soft, then tags, the generations seen ('' for a tag that was not known then), and
  # new ones.
  @commit @common <>
            @store <>
            ~S"""
            local e, l = ARGV[2], ARGV[3]
            if get(l) ~= ARGV[4] then return 0 end
            local tags, seen, new = {}, {}, {}
            for i = 12, #ARGV, 3 do
              tags[#tags + 1], seen[#seen + 1], new[#new + 1] = ARGV[i], ARGV[i + 1], ARGV[i + 2]
            end
            local voided = (get(e) or '') ~= ARGV[5]
            for i, tag in ipairs(tags) do
              if seen[i] == '' then
                voided = voided or (get(p .. 'c') or '0') ~= ARGV[6]
              else
                voided = voided or get(p .. 'g:' .. tag) ~= seen[i]
              end
            end
            if not voided and not (ARGV[9] == '0' and tonumber(ARGV[10]) == 0 and ARGV[8] ~= 'n') then
              store(e, ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11], tags, function(i, tag) return generation(tag, new[i]) end)
            end
            redis.call('DEL', l)
            return voided and 0 or 1
            """

  # ARGV: prefix, lease, token, ms ('' to give it back).
  @renew ~S"""
  if redis.call('GET', ARGV[2]) ~= ARGV[3] then return 0 end
  if ARGV[4] == '' then return redis.call('DEL', ARGV[2]) end
  return redis.call('PEXPIRE', ARGV[2], ARGV[4])
  """

  @scripts %{
    put: @put,
    delete: @delete,
    take: @take,
    incr: @incr,
    expire: @expire,
    invalidate: @invalidate,
    drain: @drain,
    acquire: @acquire,
    commit: @commit,
    renew: @renew
  }

  @type name :: :put | :delete | :take | :incr | :expire | :invalidate | :drain | :acquire | :commit | :renew

  @doc "The command that runs a script by its digest."
  @spec by_digest(name, [keys :: binary], [binary]) :: [binary]
  for {name, text} <- @scripts do
    digest = Vdr.Cache.Backend.Server.Sha1.hex(text)

    def by_digest(unquote(name), keys, arguments),
      do: ["EVALSHA", unquote(digest), Integer.to_string(length(keys)) | keys ++ arguments]
  end

  @doc "The command that brings the script along."
  @spec by_text(name, [keys :: binary], [binary]) :: [binary]
  for {name, text} <- @scripts do
    def by_text(unquote(name), keys, arguments),
      do: ["EVAL", unquote(text), Integer.to_string(length(keys)) | keys ++ arguments]
  end
end
