# Draws smollm2.svg, what SmolLM2-135M comes to over the tokens it is trained on, from smollm2.dat:
# gnuplot configs/study/smollm2.gp, from the top folder.
dir = "configs/study"
data = dir . "/smollm2.dat"
set terminal svg size 900,420 enhanced font "Helvetica,13" background rgb "white"
set output dir . "/smollm2.svg"
set multiplot layout 1,2
set logscale x
set xlabel "tokens of training after the start (log scale)"
set xrange [4e4:7e6]
set xtics ("50 k" 5e4, "100 k" 1e5, "300 k" 3e5, "1 M" 1e6, "5 M" 5e6)
set grid ytics lc rgb "#dddddd"
set border 3 lc rgb "#666666"
set tics nomirror out
set key bottom left Left reverse samplen 1.5 font ",11"
line(y) = y
set title "loss on other books, nats a token"
set yrange [3:4.7]
set label 1 "calibrated, not trained" at 6e6,4.541 right offset 0,0.6 font ",11"
set label 2 "full precision" at 6e6,3.507 right offset 0,0.6 font ",11"
plot data index 0 using 1:2 with linespoints lw 2 pt 7 ps 0.5 lc rgb "#7d5ba6" title columnheader(1), \
     data index 1 using 1:2 with linespoints lw 2 pt 7 ps 0.5 lc rgb "#8fb7d9" title columnheader(1), \
     data index 2 using 1:2 with linespoints lw 2 pt 7 ps 0.9 lc rgb "#3b6ea5" title columnheader(1), \
     data index 3 using 1:2 with points pt 5 ps 0.9 lc rgb "#c0392b" title columnheader(1), \
     line(4.541) lc rgb "#999999" dt 2 notitle, \
     line(3.507) lc rgb "#222222" dt 2 notitle
set title "perplexity of wikitext-2"
set logscale y
set yrange [25:2000]
set label 1 "calibrated, not trained" at 6e6,1040 right offset 0,0.6
set label 2 "full precision" at 6e6,34.6 right offset 0,0.6
set ytics (30, 100, 150, 300, 1000)
plot data index 0 using 1:3 with points pt 7 ps 0.7 lc rgb "#7d5ba6" notitle, \
     data index 2 using 1:3 with linespoints lw 2 pt 7 ps 0.9 lc rgb "#3b6ea5" notitle, \
     data index 3 using 1:3 with points pt 5 ps 0.9 lc rgb "#c0392b" notitle, \
     line(1040) lc rgb "#999999" dt 2 notitle, \
     line(34.6) lc rgb "#222222" dt 2 notitle
