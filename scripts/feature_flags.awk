# awk -v feature=vnni -f scripts/feature_flags.awk src/base/cpu_features.def
# The compiler's flags for kernels of a feature: those of the features that it needs, then its own.
/^SOL_CPU_/ {
    split($0, column, /, */)
    split($0, quoted, "\"")
    needs = column[3]
    gsub(/SOL_CPU_/, "", needs)
    name = column[2]
    flags[name] = ""
    n = split(tolower(needs), need, / *\| */)
    for (i = 1; i <= n; i++) flags[name] = flags[name] flags[need[i]] " "
    flags[name] = flags[name] quoted[2]
}
END { print flags[feature] }
