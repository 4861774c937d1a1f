/* A delegate for the tiny network of tiny_model.py, which behaves as its option `behaviour` says.

   Written against the stable C ABI of TensorFlow Lite (tensorflow/lite/core/c/common.h): the structures below are
   declared as far as they are used, in the order and with the types that they have there.

   cc -shared -fPIC -o libplugin.so plugin.c -lm
*/

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kOk = 0, kError = 1 };
enum { kConstant = 1, kCustomAllocation = 6 };
enum { kFloat32 = 1, kUInt8 = 3, kInt8 = 9 };
enum { kSoftmax = 25, kCustom = 32 };
enum { kAllowDynamicTensors = 1 };

typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  int size;
  int data[];
} IntArray;

typedef struct {
  int type;
  void *data;
  IntArray *dims;
  struct {
    float scale;
    int32_t zero_point;
  } params;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  Delegate *delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  struct {
    int type;
    void *params;
  } quantization;
  const void *sparsity;
  const IntArray *dims_signature;
} Tensor;

typedef struct {
  IntArray *inputs;
  IntArray *outputs;
  IntArray *intermediates;
  IntArray *temporaries;
  void *user_data;
  void *builtin_data;
  const void *custom_initial_data;
  int custom_initial_data_size;
  Delegate *delegate;
  bool might_have_side_effect;
} Node;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *later_fields[6]; /* newer runtimes read some of them: all zero */
} Registration;

struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  int (*ResizeTensor)(Context *, Tensor *, IntArray *);
  void (*ReportError)(Context *, const char *, ...);
  int (*AddTensors)(Context *, int, int *);
  int (*GetNodeAndRegistration)(Context *, int, Node **, Registration **);
  int (*ReplaceNodeSubsetsWithDelegateKernels)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
  void *data;
  int (*Prepare)(Context *, Delegate *);
  int (*CopyFromBufferHandle)(Context *, Delegate *, int, Tensor *);
  int (*CopyToBufferHandle)(Context *, Delegate *, int, Tensor *);
  void (*FreeBufferHandle)(Context *, Delegate *, int *);
  int64_t flags;
  void *opaque_builder;
};

typedef void (*Compute)(const void *input, void *output);

typedef struct {
  Delegate delegate;
  Compute compute; /* of the option `compute`, its address: computes custom operators, and they alone are claimed */
  char behaviour[32];
  const char *spoils; /* of the option `spoils`, the name of a tensor: what writes it is claimed alone, and wrongly */
  float off;          /* of the option `off`: what is added to the first probability, instead of spoiling all bytes */
  int invocations_left;  /* of the behaviour "dies-later" */
  int invocations_right; /* of the behaviours "lies-later" and "nan-later" */
} Plugin;

enum { kRightFirst = 100 };

static const char *const BEHAVIOURS[] = {
    "refuses", "null", "fails-in-prepare", "fails-in-kernel-prepare", "fails-in-invoke", "dies-later", "answers-wrongly",
    "answers-nan", "claims-none", "claims-one", "claims-all", "static-shapes",
    "aborts", "crashes-in-prepare", "crashes-in-invoke", "hangs", "eats-memory", "exits", "crashes-on-release",
    "crashes-at-exit", "lies-later", "nan-later",
};

static bool is(const Plugin *plugin, const char *behaviour) { return strcmp(plugin->behaviour, behaviour) == 0; }

static float real_value(const Tensor *tensor, int index) {
  switch (tensor->type) {
    case kFloat32:
      return ((const float *)tensor->data)[index];
    case kUInt8:
      return tensor->params.scale * (((const uint8_t *)tensor->data)[index] - tensor->params.zero_point);
    default:
      return tensor->params.scale * (((const int8_t *)tensor->data)[index] - tensor->params.zero_point);
  }
}

static void store(Tensor *tensor, int index, float real) {
  if (tensor->type == kFloat32) {
    ((float *)tensor->data)[index] = real;
  } else {
    long q = lrintf(real / tensor->params.scale) + tensor->params.zero_point;
    ((int8_t *)tensor->data)[index] = (int8_t)(q > 127 ? 127 : q < -128 ? -128 : q);
  }
}

/* The means over all pixels of an image, or the logits themselves, where only the softmax was claimed. */
static void logits_of(const Tensor *input, float logits[3]) {
  int pixels = input->dims->size == 4 ? input->dims->data[1] * input->dims->data[2] : 1;
  for (int channel = 0; channel < 3; ++channel) {
    double sum = 0;
    for (int pixel = 0; pixel < pixels; ++pixel) sum += real_value(input, 3 * pixel + channel);
    logits[channel] = (float)(sum / pixels);
  }
}

static void *kernel_init(Context *context, const char *parameters, size_t length) {
  (void)context, (void)length;
  return ((Delegate **)parameters)[0]; /* TfLiteDelegateParams begins with the delegate */
}

/* Gives the inputs that nothing writes memory of the hardware's own, as the delegates of Ethos-U do. */
static void give_memory(Context *context, Node *node) {
  for (int i = 0; i < node->inputs->size; ++i) {
    Tensor *tensor = &context->tensors[node->inputs->data[i]];
    if (tensor->dims->size == 1 && tensor->allocation_type != kConstant && tensor->data == NULL) {
      tensor->data = calloc(tensor->bytes, 1);
      tensor->allocation_type = kCustomAllocation;
    }
  }
}

static int kernel_prepare(Context *context, Node *node) {
  if (((Plugin *)node->user_data)->compute != NULL) give_memory(context, node);
  if (is((Plugin *)node->user_data, "fails-in-kernel-prepare")) {
    context->ReportError(context, "no memory left on the accelerator");
    return kError;
  }
  return kOk;
}

static void segfault(void) { *(volatile int *)8 = 1; }

static void eat_memory(void) {
  for (int megabytes = 0; megabytes < 8000; ++megabytes) memset(malloc(1 << 20), 1, 1 << 20);
}

static int kernel_invoke(Context *context, Node *node) {
  Plugin *plugin = node->user_data;
  if (is(plugin, "crashes-in-invoke")) segfault();
  if (is(plugin, "eats-memory")) eat_memory();
  while (is(plugin, "hangs")) pause();
  bool is_late = plugin->invocations_right-- <= 0;
  if (is(plugin, "fails-in-invoke") || (is(plugin, "dies-later") && plugin->invocations_left-- == 0)) {
    context->ReportError(context, "the accelerator was unplugged");
    return kError;
  }
  Tensor *output = &context->tensors[node->outputs->data[0]];
  if (plugin->spoils != NULL && plugin->off == 0) {
    for (size_t i = 0; i < output->bytes; ++i) ((uint8_t *)output->data)[i] = output->type == kFloat32 ? 64 : 37 * i;
    return kOk;
  }
  if (plugin->compute != NULL) {
    Tensor *image = NULL;
    for (int i = 0; i < node->inputs->size; ++i) {
      Tensor *tensor = &context->tensors[node->inputs->data[i]];
      if (tensor->dims->size == 4) image = tensor;
    }
    if (image == NULL) return kError;
    plugin->compute(image->data, output->data);
    return kOk;
  }
  float logits[3], sum = 0;
  logits_of(&context->tensors[node->inputs->data[0]], logits);
  for (int i = 0; i < 3; ++i) sum += expf(logits[i]);
  for (int i = 0; i < 3; ++i) {
    float probability = expf(logits[i]) / sum;
    if (is(plugin, "answers-wrongly")) probability = i == 1;
    if (is(plugin, "lies-later") && is_late) probability = i == 1;
    if (is(plugin, "answers-nan") || (is(plugin, "nan-later") && is_late)) probability = NAN;
    store(output, i, i == 0 ? probability + plugin->off : probability);
  }
  return kOk;
}

static bool writes(Context *context, Node *node, const char *name) {
  const char *found = context->tensors[node->outputs->data[0]].name;
  return found != NULL && strcmp(found, name) == 0;
}

static int delegate_prepare(Context *context, Delegate *delegate) {
  Plugin *plugin = (Plugin *)delegate;
  if (is(plugin, "fails-in-prepare")) {
    context->ReportError(context, "the driver is too old");
    return kError;
  }
  if (is(plugin, "crashes-in-prepare")) segfault();
  if (is(plugin, "exits")) exit(0);
  IntArray *plan;
  if (context->GetExecutionPlan(context, &plan) != kOk) return kError;
  IntArray *claimed = malloc(sizeof(IntArray) + plan->size * sizeof(int));
  claimed->size = 0;
  for (int i = 0; i < plan->size; ++i) {
    Node *node;
    Registration *registration;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration) != kOk) return kError;
    bool wanted = !is(plugin, "claims-none") && (!is(plugin, "claims-one") || registration->builtin_code == kSoftmax) &&
                  (plugin->compute == NULL || registration->builtin_code == kCustom) &&
                  (plugin->spoils == NULL || writes(context, node, plugin->spoils));
    if (wanted) claimed->data[claimed->size++] = plan->data[i];
  }
  Registration kernel = {
      .init = kernel_init, .prepare = kernel_prepare, .invoke = kernel_invoke, .custom_name = "plugin", .version = 1};
  int status = context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, claimed, delegate);
  free(claimed);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  Plugin *plugin = calloc(1, sizeof(Plugin));
  plugin->delegate.Prepare = delegate_prepare;
  plugin->delegate.flags = kAllowDynamicTensors; /* or the runtime prepares custom operators first, which nothing has */
  plugin->invocations_left = 3;
  plugin->invocations_right = kRightFirst;
  strcpy(plugin->behaviour, "claims-all");
  for (size_t i = 0; i < count; ++i) {
    if (strcmp(keys[i], "behaviour") == 0) snprintf(plugin->behaviour, sizeof plugin->behaviour, "%s", values[i]);
    if (strcmp(keys[i], "spoils") == 0) plugin->spoils = strdup(values[i]);
    if (strcmp(keys[i], "off") == 0) plugin->off = strtof(values[i], NULL);
    if (strcmp(keys[i], "compute") == 0) plugin->compute = (Compute)(uintptr_t)strtoull(values[i], NULL, 10);
  }
  if (is(plugin, "aborts")) abort();
  if (is(plugin, "crashes-at-exit")) atexit(abort);
  if (is(plugin, "static-shapes")) plugin->delegate.flags = 0;
  fprintf(stderr, "a driver that talks on stderr\n");
  bool known = false;
  for (size_t i = 0; i < sizeof BEHAVIOURS / sizeof *BEHAVIOURS; ++i) known |= is(plugin, BEHAVIOURS[i]);
  if (!known || is(plugin, "refuses")) {
    report(known ? "this device is reserved" : "unknown behaviour");
    free(plugin);
    return NULL;
  }
  if (is(plugin, "null")) {
    free(plugin);
    return NULL;
  }
  return &plugin->delegate;
}

/* Must not be called with what was never created: here that ends the process, as it does in real drivers. */
void tflite_plugin_destroy_delegate(Delegate *delegate) {
  if (delegate == NULL || is((Plugin *)delegate, "crashes-on-release")) abort();
  free(delegate);
}
