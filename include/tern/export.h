/* Symbol visibility and C++ linkage. */
#ifndef TERN_EXPORT_H
#define TERN_EXPORT_H

#if defined(__GNUC__)
#define TERN_API __attribute__((visibility("default")))
#else
#define TERN_API
#endif

#ifdef __cplusplus
#define TERN_BEGIN_DECLS extern "C" {
#define TERN_END_DECLS   }
#else
#define TERN_BEGIN_DECLS
#define TERN_END_DECLS
#endif

#endif
