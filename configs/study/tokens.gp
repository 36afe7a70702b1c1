# Draws tokens.svg, loss against tokens a parameter, from tokens.dat of scripts/study_tokens.py:
# gnuplot configs/study/tokens.gp, from the top folder. Lines: means of the seeds; bands: range.
if (!exists("dir")) dir = "configs/study"
data = dir . "/tokens.dat"
set terminal svg size 800,460 enhanced font "Helvetica,13" background rgb "white"
set output dir . "/tokens.svg"
set logscale x
set xlabel "tokens a parameter (log scale)"
set ylabel "loss of the deployed model, nats a token"
set grid ytics lc rgb "#dddddd"
set border 3 lc rgb "#666666"
set tics nomirror out
set xtics (0.1, 0.3, 1, 3, 10, 30, 100)
set key top right
array colour = ["#3b6ea5", "#c0392b", "#d98c3f", "#2e8b57", "#7d5ba6", "#555555"]
stats data using 1 nooutput
set xrange [0.085:STATS_max * 1.15]
plot for [i = 0:STATS_blocks - 1] data index i using 1:3:4 with filledcurves lc rgb colour[i + 1] \
         fs transparent solid 0.2 noborder notitle, \
     for [i = 0:STATS_blocks - 1] data index i using 1:2 with linespoints lc rgb colour[i + 1] \
         lw 2 pt 7 ps 0.5 title columnheader(1)
