#include "solera.h"

#include <stdio.h>

int main(void)
{
    puts("solera " SOL_VERSION);
    return 0;
}
