# The samples in a header's first comment, as C: `awk -f tests/samples.awk HEADER`.
#
# A sample is a run of comment lines indented by five blanks or more after the star, with an empty
# comment line (or the comment's beginning) before it; what is not C is indented by less. A sample
# whose first line begins with #include, static, struct or const stands at file scope, any other one
# becomes the body of a function that may return a status. Names that it does not declare are
# declared in tests/headers.given.
function finish()
{
    if (inside && wrapped) print "return 0;\n}"
    inside = 0
}
FNR == 1 && !/^\/\*/ { exit }
{
    last = /\*\//
    sub(/[[:space:]]*\*\/.*/, "")
    is_code = /^ \*     +[^ ]/
    if (is_code && (inside || before ~ /^ \*$/ || FNR == 2)) {
        text = $0
        sub(/^ \*     /, "", text)
        if (!inside) {
            inside = 1
            wrapped = text !~ /^(#include|static|struct|const)/
            if (wrapped) printf "int sample_%d(void);\nint sample_%d(void)\n{\n", FNR, FNR
            printf "#line %d \"%s\"\n", FNR, FILENAME
        }
        print text
    } else {
        finish()
    }
    before = $0
    if (last) exit
}
END { finish() }
