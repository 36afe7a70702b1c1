# Draws recipes.svg, the picture of the README: gnuplot configs/study/recipes.gp, from the top folder.
# Means of seeds 1 to 3 and their sample deviations, from the tables of recipe and teacher (tables.md here):
# the loss of a recipe, its deviation; full precision on the same tokens is subtracted.
$embedded << EOD
"additive\n(the paper's form)" 4.318 0.023
"naive\n(no residual)" 4.131 0.014
"blended,\nlambda 0 at 40 %" 4.163 0.020
"best with\na teacher" 4.044 0.013
EOD
$llama2xs << EOD
"additive\n(the paper's form)" 3.192 0.033
"naive\n(no residual)" 3.039 0.036
"blended,\nlambda 0 at 40 %" 2.948 0.010
"best with\na teacher" 2.745 0.009
EOD
full_embedded = 3.970
full_llama2xs = 2.459
set terminal svg size 800,340 enhanced font "Helvetica,13" background rgb "white"
set output "configs/study/recipes.svg"
set title "Loss above full precision after the same training (nats a token)"
set bmargin 4
set style fill solid 0.9 noborder
set boxwidth 0.36
set grid ytics lc rgb "#dddddd"
set border 3 lc rgb "#666666"
set tics nomirror out
set yrange [0:0.9]
set xrange [-0.6:3.6]
set key top right
deviation = "vectors heads size graph 0.006,90 lc rgb '#222222'" # yerrorbars set a white disc behind each
plot $embedded using ($0 - 0.19):($2 - full_embedded):xtic(1) with boxes lc rgb "#3b6ea5" title "embedded, 3.7 M parameters, a new domain", \
     $embedded using ($0 - 0.19):($2 - full_embedded - $3):(0):(2 * $3) with @deviation notitle, \
     $llama2xs using ($0 + 0.19):($2 - full_llama2xs) with boxes lc rgb "#d98c3f" title "llama2xs, 0.28 M parameters, its own domain", \
     $llama2xs using ($0 + 0.19):($2 - full_llama2xs - $3):(0):(2 * $3) with @deviation notitle
