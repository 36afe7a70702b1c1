# Draws calibrate.svg from the tables of study calibrate: gnuplot configs/study/calibrate.gp, from the top folder, after
# scripts/reproduce_study.sh calibrate MODEL ... for the models in `models`.
# Differences of the loss to that after the closed form, seed by seed; bars: 95 % intervals of three seeds.
if (!exists("models")) models = "llama2xs"
set datafile separator ","
interval = 4.303 / sqrt(3) # Student's t with two degrees of freedom, of a sample deviation
table(m) = sprintf("runs/study/%s/calibrate/table.csv", m)
set terminal svg size 800,460 enhanced font "Helvetica,13" background rgb "white"
set output "configs/study/calibrate.svg"
set title "Calibration without any training: loss minus that of the closed form (nats a token)"
set lmargin 24
set border 1 lc rgb "#666666"
set tics nomirror out
set ytics scale 0
set grid xtics lc rgb "#dddddd"
set arrow from 0, graph 0 to 0, graph 1 nohead lc rgb "#666666"
set yrange [20.6:-0.6]
set xrange [-0.55:0.55]
set key bottom right
colors = "#3b6ea5 #d98c3f #4c9a6a"
plot for [m = 1:words(models)] table(word(models, m)) every ::1 \
         using ($9 - interval * $10):($0 + 0.2 * (m - 1)):(2 * interval * $10):(0) \
         with vectors heads size graph 0.004,90 lc rgb word(colors, m) notitle, \
     for [m = 1:words(models)] table(word(models, m)) every ::1 \
         using 9:($0 + 0.2 * (m - 1)):ytic(1) with points pt 7 ps 0.6 lc rgb word(colors, m) title word(models, m)
