-- Gives back what calls have reserved. ARGV: time, then the calls' ids.
for i = 2, #ARGV do release(ARGV[i], {q = 0, t = 0, i = 0, o = 0}) end
return 1
