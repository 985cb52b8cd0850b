/* other_user: set-user-id root; becomes root altogether, says so, and waits for the end of descriptor 3 */
#define _GNU_SOURCE
#include <unistd.h>

int main(void)
{
    char byte;

    if (setresuid(0, 0, 0) < 0 || write(1, "up\n", 3) < 0)
        return 124;
    return read(3, &byte, 1) < 0;
}
