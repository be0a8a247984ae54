// Uploaded files.
/** A file that was uploaded. */
export type StoredUpload = { readonly id: string; readonly path: string };

/** Where uploaded files lie. */
export interface FileStore {
  find(id: string): Promise<StoredUpload | undefined>;
}
