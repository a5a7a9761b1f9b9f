/* placeholder */
#include "world.h"
