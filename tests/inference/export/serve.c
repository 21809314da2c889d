/* Runs one signature of a SavedModel through TensorFlow's C API, as a program without Python does.
 *
 * serve MODEL TAG SIGNATURE INPUT INPUT_FILE OUTPUT OUTPUT_FILE DIMENSION...
 *
 * INPUT and OUTPUT are the signature's own names; the files hold float32. The signature is looked up in the MetaGraphDef
 * that comes with the session: a protocol buffer, of which a few fields are read here by hand
 * (tensorflow/core/protobuf/meta_graph.proto). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tensorflow/c/c_api.h"

typedef struct { const uint8_t *at, *end; } Bytes;

static void die(const char *what) { fprintf(stderr, "serve: %s\n", what); exit(1); }

static uint64_t varint(Bytes *b) {
    uint64_t value = 0;
    for (int shift = 0; b->at < b->end; shift += 7) {
        uint8_t byte = *b->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
    die("the MetaGraphDef is cut short");
    return 0;
}

/* The next field: its number; `content` is set for fields of bytes. 0 at the end. */
static int next_field(Bytes *b, Bytes *content) {
    if (b->at >= b->end) return 0;
    uint64_t key = varint(b), size = 0;
    content->at = content->end = b->at;
    switch (key & 7) {
        case 0: varint(b); return (int)(key >> 3);
        case 1: size = 8; break;
        case 2: size = varint(b); break;
        case 5: size = 4; break;
        default: die("an unknown kind of field");
    }
    if (size > (uint64_t)(b->end - b->at)) die("the MetaGraphDef is cut short");
    content->at = b->at;
    content->end = b->at += size;
    return (int)(key >> 3);
}

/* The value of `key` in the map<string, message> that is field `number` of a message. */
static Bytes look_up(Bytes message, int number, const char *key) {
    Bytes entry, part, value;
    int field;
    while ((field = next_field(&message, &entry))) {
        if (field != number) continue;
        int right = 0;
        value.at = value.end = entry.end;
        while ((field = next_field(&entry, &part))) {
            if (field == 1) right = (size_t)(part.end - part.at) == strlen(key) && !memcmp(part.at, key, strlen(key));
            if (field == 2) value = part;
        }
        if (right) return value;
    }
    fprintf(stderr, "serve: there is no '%s'\n", key);
    exit(1);
}

/* The graph's output that a TensorInfo names, as in "serving_default_images:0". */
static TF_Output output_of(TF_Graph *graph, Bytes info) {
    Bytes name;
    while (next_field(&info, &name) != 1) if (info.at >= info.end) die("a TensorInfo without a name");
    char text[512];
    snprintf(text, sizeof text, "%.*s", (int)(name.end - name.at), name.at);
    char *colon = strrchr(text, ':');
    TF_Output output = {NULL, colon ? atoi(colon + 1) : 0};
    if (colon) *colon = 0;
    output.oper = TF_GraphOperationByName(graph, text);
    if (!output.oper) die("the graph lacks a tensor of the signature");
    return output;
}

static void release(void *data, size_t length, void *argument) { (void)length; (void)argument; free(data); }

int main(int argc, char **argv) {
    if (argc < 9) die("MODEL TAG SIGNATURE INPUT INPUT_FILE OUTPUT OUTPUT_FILE DIMENSION...");
    TF_Status *status = TF_NewStatus();
    TF_Graph *graph = TF_NewGraph();
    TF_SessionOptions *options = TF_NewSessionOptions();
    TF_Buffer *meta = TF_NewBuffer();
    const char *tags[] = {argv[2]};
    TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, meta, status);
    if (TF_GetCode(status) != TF_OK) die(TF_Message(status));

    Bytes definition = {meta->data, (const uint8_t *)meta->data + meta->length};
    Bytes signature = look_up(definition, 5, argv[3]);
    TF_Output input = output_of(graph, look_up(signature, 1, argv[4]));
    TF_Output output = output_of(graph, look_up(signature, 2, argv[6]));

    int rank = argc - 8;
    int64_t dimensions[8];
    size_t count = 1;
    for (int i = 0; i < rank && i < 8; i++) count *= (size_t)(dimensions[i] = atoll(argv[8 + i]));
    float *values = malloc(count * sizeof *values);
    FILE *file = fopen(argv[5], "rb");
    if (!file || fread(values, sizeof *values, count, file) != count) die("the input file is too short");
    fclose(file);
    TF_Tensor *given = TF_NewTensor(TF_FLOAT, dimensions, rank, values, count * sizeof *values, release, NULL);

    TF_Tensor *scores = NULL;
    TF_SessionRun(session, NULL, &input, &given, 1, &output, &scores, 1, NULL, 0, NULL, status);
    if (TF_GetCode(status) != TF_OK) die(TF_Message(status));
    if (TF_TensorType(scores) != TF_FLOAT) die("the output is not float32");
    file = fopen(argv[7], "wb");
    if (!file || !fwrite(TF_TensorData(scores), TF_TensorByteSize(scores), 1, file)) die("the output cannot be written");
    fclose(file);
    for (int i = 0; i < TF_NumDims(scores); i++) printf("%lld ", (long long)TF_Dim(scores, i));
    printf("\n");

    TF_DeleteTensor(given);
    TF_DeleteTensor(scores);
    TF_CloseSession(session, status);
    TF_DeleteSession(session, status);
    TF_DeleteBuffer(meta);
    TF_DeleteSessionOptions(options);
    TF_DeleteGraph(graph);
    TF_DeleteStatus(status);
    return 0;
}
