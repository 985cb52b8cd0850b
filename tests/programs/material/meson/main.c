#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tiny(void);

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "abort") == 0)
        abort();
    printf("tiny is %d\n", tiny());
    return argc == 2 ? atoi(argv[1]) : 2;
}
