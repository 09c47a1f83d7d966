#include "rooms.h"

#include <stdlib.h>
#include <string.h>

// The format's numbers (HDF5 File Format Specification 3.0, IV.A).
enum { bayesify_attribute_message = 0x0C, bayesify_continuation_message = 0x10, bayesify_message_is_shared = 0x02 };

// A part of a header: a list of messages.
typedef struct {
  haddr_t address;
  uint64_t size;
} bayesify_part;

typedef struct {
  bayesify_bytes bytes;
  int version;
  // Whether each message of version 2 carries the order of its creation.
  int is_ordered;
  bayesify_part *parts;
  size_t part_count;
  bayesify_rooms rooms;
} bayesify_walk;

bayesify_bytes bayesify_bytes_open(const char *path, hid_t access, hid_t file) {
  bayesify_bytes bytes = {NULL, 0, 8, 8};
  hid_t creation = H5Fget_create_plist(file);
  hsize_t user_block = 0;
  if (creation < 0) return bytes;
  H5Pget_userblock(creation, &user_block);
  H5Pget_sizes(creation, &bytes.address_size, &bytes.length_size);
  H5Pclose(creation);
  bytes.base = user_block;
  bytes.file = H5FDopen(path, H5F_ACC_RDONLY, access, HADDR_UNDEF);
  if (bytes.file != NULL) H5FDset_eoa(bytes.file, H5FD_MEM_DEFAULT, H5FDget_eof(bytes.file, H5FD_MEM_DEFAULT));
  return bytes;
}

void bayesify_bytes_close(bayesify_bytes bytes) {
  if (bytes.file != NULL) H5FDclose(bytes.file);
}

// So many bytes from an address on, which the caller frees; NULL where the file has fewer.
static uint8_t *bayesify_bytes_read(bayesify_bytes bytes, haddr_t address, uint64_t size) {
  haddr_t end = bytes.file == NULL ? 0 : H5FDget_eof(bytes.file, H5FD_MEM_DEFAULT);
  if (size == 0 || bytes.base > end || address > end - bytes.base || size > end - bytes.base - address) return NULL;
  uint8_t *values = malloc(size);
  if (values == NULL) return NULL;
  if (H5FDread(bytes.file, H5FD_MEM_OHDR, H5P_DEFAULT, bytes.base + address, size, values) >= 0) return values;
  free(values);
  return NULL;
}

static uint64_t bayesify_little_endian(const uint8_t *bytes, size_t count) {
  uint64_t value = 0;
  for (size_t byte = 0; byte < count && byte < 8; byte++) value |= (uint64_t)bytes[byte] << 8 * byte;
  return value;
}

static void bayesify_walk_add_room(bayesify_walk *walk, const uint8_t *message, size_t size) {
  if (size < 8) return;
  int version = message[0];
  size_t start = version < 3 ? 8 : 9, padding = version < 2 ? 7 : 0;
  size_t name = bayesify_little_endian(message + 2, 2);
  size_t type = bayesify_little_endian(message + 4, 2), space = bayesify_little_endian(message + 6, 2);
  bayesify_room *all = realloc(walk->rooms.all, (walk->rooms.count + 1) * sizeof(bayesify_room));
  if (all == NULL) return;
  walk->rooms.all = all;
  size_t named = start >= size ? 0 : start + name > size ? size - start : name;
  size_t taken = start;
  size_t fields[] = {name, type, space};
  for (int field = 0; field < 3; field++) taken += (fields[field] + padding) & ~padding;
  all[walk->rooms.count].name = strndup((const char *)message + start, named);
  all[walk->rooms.count].size = (int64_t)size - (int64_t)taken;
  all[walk->rooms.count].value = taken < size ? malloc(size - taken) : NULL;
  if (all[walk->rooms.count].value != NULL)
    memcpy(all[walk->rooms.count].value, message + taken, size - taken);
  if (all[walk->rooms.count].name != NULL) walk->rooms.count++;
}

static void bayesify_walk_add_part(bayesify_walk *walk, haddr_t address, uint64_t size) {
  // Parts that name one another would never end.
  for (size_t part = 0; part < walk->part_count; part++)
    if (walk->parts[part].address == address) return;
  bayesify_part *parts = realloc(walk->parts, (walk->part_count + 1) * sizeof(bayesify_part));
  if (parts == NULL) return;
  walk->parts = parts;
  parts[walk->part_count++] = (bayesify_part){address, size};
}

static void bayesify_walk_messages(bayesify_walk *walk, const uint8_t *part, size_t size) {
  size_t prefix = walk->version == 1 ? 8 : walk->is_ordered ? 6 : 4;
  size_t at = 0;
  while (at + prefix <= size) {
    const uint8_t *head = part + at;
    int type = walk->version == 1 ? (int)bayesify_little_endian(head, 2) : head[0];
    size_t length = bayesify_little_endian(head + (walk->version == 1 ? 2 : 1), 2);
    int flags = head[walk->version == 1 ? 4 : 3];
    at += prefix;
    if (length > size - at) return;
    const uint8_t *message = part + at;
    at += length;
    if (flags & bayesify_message_is_shared) continue;
    if (type == bayesify_attribute_message) bayesify_walk_add_room(walk, message, length);
    size_t address_size = walk->bytes.address_size, length_size = walk->bytes.length_size;
    if (type == bayesify_continuation_message && length >= address_size + length_size)
      bayesify_walk_add_part(
          walk, bayesify_little_endian(message, address_size),
          bayesify_little_endian(message + address_size, length_size));
  }
}

// Where the first part starts, and its size; without its size where the header makes no sense.
static bayesify_part bayesify_walk_first_part(bayesify_walk *walk, haddr_t header) {
  bayesify_part first = {header, 0};
  uint8_t *start = bayesify_bytes_read(walk->bytes, header, 16);
  if (start == NULL) return first;
  if (memcmp(start, "OHDR", 4) != 0) {
    walk->version = 1;
    first = (bayesify_part){header + 16, bayesify_little_endian(start + 8, 4)};
  } else {
    int flags = start[5];
    size_t size_size = (size_t)1 << (flags & 3);
    size_t at = 6 + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0);
    walk->version = 2;
    walk->is_ordered = (flags & 0x04) != 0;
    uint8_t *size = bayesify_bytes_read(walk->bytes, header + at, size_size);
    if (size != NULL) first = (bayesify_part){header + at + size_size, bayesify_little_endian(size, size_size)};
    free(size);
  }
  free(start);
  return first;
}

bayesify_rooms bayesify_rooms_of(bayesify_bytes bytes, haddr_t header) {
  bayesify_walk walk = {.bytes = bytes};
  bayesify_part first = bayesify_walk_first_part(&walk, header);
  bayesify_walk_add_part(&walk, first.address, first.size);
  for (size_t index = 0; index < walk.part_count; index++) {
    bayesify_part part = walk.parts[index];
    uint8_t *values = bayesify_bytes_read(bytes, part.address, part.size);
    if (values == NULL) continue;
    // Further parts of version 2 have a signature before and a checksum behind.
    size_t before = index > 0 && walk.version == 2 ? 4 : 0, behind = before;
    if (part.size > before + behind) bayesify_walk_messages(&walk, values + before, part.size - before - behind);
    free(values);
  }
  free(walk.parts);
  return walk.rooms;
}

void bayesify_rooms_free(bayesify_rooms rooms) {
  for (size_t room = 0; room < rooms.count; room++) {
    free(rooms.all[room].name);
    free(rooms.all[room].value);
  }
  free(rooms.all);
}

int bayesify_rooms_fit(bayesify_rooms rooms, const char *name, hsize_t size) {
  for (size_t room = 0; room < rooms.count; room++)
    if (strcmp(rooms.all[room].name, name) == 0 &&
        (rooms.all[room].size < 0 || (hsize_t)rooms.all[room].size < size))
      return 0;
  return 1;
}

// A collection of a file's global heap (III.E): numbered pieces, one behind the other.
typedef struct {
  haddr_t address;
  uint8_t *values;
  uint64_t size;
} bayesify_collection;

// Reads the collection at an address in place of the one before; without a size where there is none.
static void bayesify_collection_read(bayesify_collection *collection, bayesify_bytes bytes, haddr_t address) {
  free(collection->values);
  *collection = (bayesify_collection){address, NULL, 0};
  size_t prefix = 8 + bytes.length_size;
  uint8_t *start = bayesify_bytes_read(bytes, address, prefix);
  if (start != NULL && memcmp(start, "GCOL", 4) == 0) {
    uint64_t size = bayesify_little_endian(start + 8, bytes.length_size);
    collection->values = bayesify_bytes_read(bytes, address, size);
    if (collection->values != NULL) collection->size = size;
  }
  free(start);
}

// Whether a collection has a piece of that number which is no longer than `length`.
static int bayesify_collection_holds(
    const bayesify_collection *collection, bayesify_bytes bytes, uint64_t number, uint64_t length) {
  size_t head = 8 + bytes.length_size;
  // Pieces start at multiples of eight.
  uint64_t at = (8 + bytes.length_size + 7) & ~(uint64_t)7;
  while (at <= collection->size && collection->size - at >= head) {
    const uint8_t *piece = collection->values + at;
    uint64_t found = bayesify_little_endian(piece, 2);
    uint64_t size = bayesify_little_endian(piece + 8, bytes.length_size);
    // Number zero is what is free, and the last.
    if (found == 0 || size > collection->size - at - head) return 0;
    if (found == number) return size <= length;
    at += (head + size + 7) & ~(uint64_t)7;
  }
  return 0;
}

int bayesify_rooms_hold_strings(bayesify_bytes bytes, bayesify_rooms rooms, const char *name, hsize_t count) {
  size_t width = 4 + bytes.address_size + 4;
  bayesify_collection collection = {HADDR_UNDEF, NULL, 0};
  int hold = 1;
  for (size_t room = 0; room < rooms.count && hold; room++) {
    if (strcmp(rooms.all[room].name, name) != 0) continue;
    hold = rooms.all[room].size >= 0 && (uint64_t)rooms.all[room].size / width >= count;
    for (hsize_t string = 0; string < count && hold; string++) {
      const uint8_t *reference = rooms.all[room].value + string * width;
      uint64_t length = bayesify_little_endian(reference, 4);
      haddr_t address = bayesify_little_endian(reference + 4, bytes.address_size);
      uint64_t number = bayesify_little_endian(reference + 4 + bytes.address_size, 4);
      // A string of no characters is nowhere.
      if (length == 0 || address == 0) continue;
      if (address != collection.address) bayesify_collection_read(&collection, bytes, address);
      hold = bayesify_collection_holds(&collection, bytes, number, length);
    }
  }
  free(collection.values);
  return hold;
}
