-- Gives back what calls have reserved. ARGV: time, then the calls' ids.
fetch({unpack(ARGV, 2)})
for i = 2, #ARGV do release(ARGV[i], {}, {}) end
flush()
return 1
