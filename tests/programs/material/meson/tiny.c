#include "config.h"
#include "made.h"

int tiny(void) { return MADE + SIZE_OF_LONG + HAVE_PIPE2 + HAVE_NOTHING; }
