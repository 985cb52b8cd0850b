#include <stdio.h>

int f0(void), f1(void), f2(void), f3(void), f4(void), f5(void);

int main(void)
{
    printf("%d\n", f0() + f1() + f2() + f3() + f4() + f5());
    return 0;
}
