# awk -v feature=vnni -f scripts/feature_flags.awk src/base/cpu_features.def
# The compiler's flags for kernels of a feature: those of the features that it needs, then those of its own row.
/^SOL_CPU_/ {
    split($0, column, /, */)
    split($0, quoted, "\"")
    needs = column[3]
    gsub(/SOL_CPU_/, "", needs)
    flags[column[2]] = ""
    for (i = split(tolower(needs), need, / *\| */); i > 0; i--) flags[column[2]] = flags[column[2]] flags[need[i]] " "
    flags[column[2]] = flags[column[2]] quoted[2]
}
END { print flags[feature] }
