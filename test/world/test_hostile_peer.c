#include "world/suite.h"
int main(void) { return 0; }
