/* What the standard library wants of an unwinder. There are no tables to unwind with (no-unwind.ld), and a panic ends the
   process: no stack has a frame, and nothing that is thrown is caught. */
#include <stdlib.h>

enum { END_OF_STACK = 5 };

int _Unwind_Backtrace(void *trace, void *argument) { return END_OF_STACK; }
int _Unwind_RaiseException(void *exception) { return END_OF_STACK; }
void _Unwind_Resume(void *exception) { abort(); }
void _Unwind_DeleteException(void *exception) {}
void *_Unwind_FindEnclosingFunction(void *address) { return NULL; }
unsigned long _Unwind_GetIP(void *context) { return 0; }
unsigned long _Unwind_GetIPInfo(void *context, int *is_before) { return 0; }
unsigned long _Unwind_GetCFA(void *context) { return 0; }
unsigned long _Unwind_GetRegionStart(void *context) { return 0; }
unsigned long _Unwind_GetTextRelBase(void *context) { return 0; }
unsigned long _Unwind_GetDataRelBase(void *context) { return 0; }
unsigned long _Unwind_GetGR(void *context, int index) { return 0; }
void *_Unwind_GetLanguageSpecificData(void *context) { return NULL; }
void _Unwind_SetGR(void *context, int index, unsigned long value) {}
void _Unwind_SetIP(void *context, unsigned long value) {}
