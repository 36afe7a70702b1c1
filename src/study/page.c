/* The head and the style that the pages share. */
#include "study/page.h"

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<link rel=\"icon\" href=\"data:,\">\n";
static const char style[] =
    "<style>\n"
    "body{font:15px/1.5 system-ui,'Segoe "
    "UI',Helvetica,Arial,sans-serif;color:#1c1c1c;background:#fff;max-width:980px;margin:2em auto;"
    "padding:0 20px}\n"
    "h1{font-size:1.7em;margin:.2em 0}h2{font-size:1.25em;margin:2em 0 .4em;border-bottom:1px "
    "solid #ccc}\n"
    "nav ul{columns:2;margin:.4em 0;padding-left:1.2em}nav li{break-inside:avoid}\n"
    "h3{font-size:1.02em;margin:1.2em 0 .1em}p{margin:.5em 0}.look{color:#444;max-width:80ch}\n"
    ".box{background:#f3f6f9;border-left:4px solid #0072B2;padding:.5em 1em;margin:1em 0}\n"
    "table{border-collapse:collapse;font-size:.9em;margin:.6em 0}th,td{padding:.25em "
    ".5em;border-bottom:1px solid #ddd;text-align:left;"
    "vertical-align:top}\ntd.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:"
    "nowrap}\n"
    "th.n{white-space:normal}th.name{overflow-wrap:anywhere}small{color:#555}.nb{white-space:"
    "nowrap}\n"
    "@media(max-width:900px){table{font-size:.8em}th,td{padding:.25em .35em}}\n"
    ".scroll{overflow-x:auto}section{break-inside:avoid}figure{margin:.6em 0}figure "
    "svg{width:100%;height:auto;display:block}\n"
    "code,pre{font:13px/1.4 "
    "ui-monospace,Menlo,Consolas,monospace;background:#f5f5f5}pre{padding:.6em;overflow-x:auto}\n"
    "@page{margin:11mm}@media "
    "print{body{margin:0;max-width:none;font-size:9pt}h2,h3,.look{break-after:avoid}tr{break-"
    "inside:avoid}"
    ".scroll{overflow:visible}table{font-size:7.5pt}th,td{padding:.1em .4em}figure "
    "svg{max-height:84mm}.more{display:none}"
    ".tall svg{max-height:118mm}.look{break-inside:avoid}.layer "
    "svg{max-height:96mm}nav{display:none}"
    ".box{padding:.2em 1em}}\n"
    "</style>\n</head>\n<body>\n";

void sol_page_begin(sol_text *t, const char *what, const char *of, int reload)
{
    sol_text_add(t, NULL, "%s<title>%s: ", head, what);
    sol_page_text(t, of);
    sol_text_add(t, NULL, "</title>\n");
    if (reload > 0) sol_text_add(t, NULL, "<meta http-equiv=\"refresh\" content=\"%d\">\n", reload);
    sol_text_add(t, NULL, "%s", style);
}

void sol_page_text(sol_text *t, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '<': sol_text_add(t, NULL, "&lt;"); break;
        case '>': sol_text_add(t, NULL, "&gt;"); break;
        case '&': sol_text_add(t, NULL, "&amp;"); break;
        case '"': sol_text_add(t, NULL, "&quot;"); break;
        default: sol_text_add(t, NULL, "%c", *s);
        }
    }
}
