# The functions that a header declares without a word: neither a comment before the paragraph they
# stand in, nor one in their own lines. Functions that release something (_free, _close, _abort) are
# described once, in src/solera.h.
/^$/ { said = 0 }
/^(\/\*| \*)/ { said = 1 }
/^[a-z].*[ *]sol_[a-z0-9_]+\(/ && !/^(typedef|static)/ {
    name = $0
    sub(/\(.*/, "", name)
    sub(/.*[ *]/, "", name)
    declared = 1
    spoken = said
}
declared && /\/\*/ { spoken = 1 }
declared && /;/ {
    declared = 0
    if (!spoken && name !~ /_(free|close|abort)$/) print FILENAME ": " name
    if (spoken) said = 1
}
